"""Routes for orchestrators and scrapers: /livez, /readyz, /startupz, /metrics."""

from collections.abc import Sequence

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import BaseRoute, Route

from chassis.readiness import Readiness

__all__ = ["PATHS", "metrics_app", "routes"]

PATHS = frozenset({"/livez", "/readyz", "/startupz", "/metrics"})


def routes(readiness: Readiness, *, metrics: bool = True) -> Sequence[BaseRoute]:
    """Return the routes of the probes and, with `metrics`, that of the metrics.

    /livez answers 200 while the process runs, /startupz once the start is over, /readyz while the
    service can answer requests. A service that is not ready, or drains, is still live.
    """

    async def livez(_: Request) -> Response:
        return JSONResponse({"status": "live"})

    async def readyz(_: Request) -> Response:
        await readiness.check()
        if readiness.ready:
            return JSONResponse(readiness.report())
        return JSONResponse(readiness.report(), 503, headers={"retry-after": "1"})

    async def startupz(_: Request) -> Response:
        if readiness.started:
            return JSONResponse({"status": "started"})
        return JSONResponse({"status": "starting"}, 503)

    return [
        Route("/livez", livez),
        Route("/readyz", readyz),
        Route("/startupz", startupz),
        *([_METRICS] if metrics else []),
    ]


def metrics_app() -> Starlette:
    """Return the application for a port that serves only metrics."""
    return Starlette(routes=[_METRICS])


async def _metrics(_: Request) -> Response:
    """Answer the metrics in Prometheus' text format."""
    return Response(generate_latest(), headers={"content-type": CONTENT_TYPE_LATEST})


_METRICS = Route("/metrics", _metrics)
