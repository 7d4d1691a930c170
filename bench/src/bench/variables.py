"""The variables that a contender's server gets in its environment."""

import os

__all__ = ["ENDPOINT", "PORT", "port"]

PORT = "BENCH_PORT"
"""The port to listen on."""
ENDPOINT = "BENCH_OTLP_ENDPOINT"
"""The URL that traces are sent to. Without it there are no traces."""


def port() -> int:
    """Return the port to listen on."""
    return int(os.environ[PORT])
