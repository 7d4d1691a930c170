"""The floor of a start: five interpreters that import a service's libraries, and nothing else."""

import subprocess
import sys
import time

import psutil

from bench.meter import OWN
from bench.stage import Stage
from bench.worker import Sample

__all__ = ["import_in_five_processes"]

_SERVICES = 5
_SECONDS = 120.0
_IMPORTS = (
    "import fastapi, uvicorn, uvloop, httptools, grpc.aio, nats, sqlalchemy.orm, psycopg,"
    " structlog, prometheus_client, prometheus_fastapi_instrumentator, pydantic_settings,"
    " opentelemetry.trace, google.protobuf.json_format"
)


def import_in_five_processes(_stage: Stage) -> Sample:
    """Return what five starts of such an interpreter cost."""
    began, before = time.perf_counter(), _seconds_of_children()
    for _ in range(_SERVICES):
        subprocess.run([sys.executable, "-c", _IMPORTS], check=True, timeout=_SECONDS)
    seconds = time.perf_counter() - began
    return Sample(1, seconds, {OWN: _seconds_of_children() - before})


def _seconds_of_children() -> float:
    """Return the CPU time of all ended children of this process."""
    times = psutil.Process().cpu_times()
    children: float = times.children_user + times.children_system
    return children
