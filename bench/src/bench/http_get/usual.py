"""FastAPI with three usual libraries: structlog, Prometheus instrumentator, OpenTelemetry."""

import sys
import time
from typing import Any

import structlog
from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
from prometheus_fastapi_instrumentator import Instrumentator
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from bench.http_get.bare import make_app, serve
from bench.telemetry import provider


class AccessLog:
    """Middleware that logs a line in JSON for each request."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._log: Any = structlog.get_logger()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self._app(scope, receive, send)
        began = time.perf_counter()
        status = 0

        async def noting(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
            await send(message)

        await self._app(scope, receive, noting)
        milliseconds = (time.perf_counter() - began) * 1000
        self._log.info(
            "access",
            method=scope["method"],
            path=scope["path"],
            status=status,
            milliseconds=milliseconds,
        )


def configure_log() -> None:
    """Log in JSON to standard output."""
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.WriteLoggerFactory(file=sys.stdout),
        cache_logger_on_first_use=True,
    )


if __name__ == "__main__":
    configure_log()
    app = make_app()
    app.add_middleware(AccessLog)
    Instrumentator().instrument(app)
    FastAPIInstrumentor.instrument_app(app, tracer_provider=provider())
    serve(app)
