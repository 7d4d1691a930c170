"""Bare FastAPI on uvicorn: no metrics, no log, no traces."""

from fastapi import FastAPI
from fastapi.telemetry import TelemetryConfig

from bench import asgi
from bench.http_get.route import router

__all__ = ["make_app", "serve"]

_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
}


def make_app() -> FastAPI:
    """Return the application."""
    app = FastAPI(telemetry=_NO_TELEMETRY)
    app.include_router(router)
    return app


def serve(app: FastAPI) -> None:
    """Serve until the process ends, as fast as uvicorn can."""
    asgi.serve(app)


if __name__ == "__main__":
    serve(make_app())
