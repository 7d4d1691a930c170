"""A server for the contenders that are ASGI applications, the same for all."""

from typing import Any

import uvicorn

from bench.variables import port

__all__ = ["serve"]


def serve(app: Any) -> None:
    """Serve an application on the port of the environment until the process ends."""
    uvicorn.run(
        app,
        host="127.0.0.1",
        port=port(),
        log_config=None,
        access_log=False,
        loop="uvloop",
        http="httptools",
    )
