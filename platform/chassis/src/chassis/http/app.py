"""The HTTP application of a service: its probes and its own routers, within the middleware."""

import asyncio
from collections.abc import Sequence

from fastapi import APIRouter, FastAPI
from fastapi.telemetry import TelemetryConfig

from chassis.admission import Admission
from chassis.forwarding import Forwarding
from chassis.http import docs, probes, problems, proxied, sampled
from chassis.http.admission import AdmissionLimit
from chassis.http.middleware import BodyLimit, RequestContext
from chassis.readiness import Readiness
from chassis.rpc.client import Clients
from chassis.settings import ServiceSettings
from chassis.telemetry import tracing

__all__ = ["create_app"]

# FastAPI's own telemetry is off, because it would start spans in addition to the instrumentation's.
_NO_TELEMETRY: TelemetryConfig = {
    "tracing": False,
    "metrics": False,
    "logs": False,
    "operation_spans": False,
}


def create_app(
    service: str,
    routers: Sequence[APIRouter],
    settings: ServiceSettings,
    readiness: Readiness,
    clients: Clients,
) -> FastAPI:
    """Return the application.

    Its `state` has `settings`, `clients`, `database` (None until it is open), and `closing`: an
    asyncio.Event that is set when long responses must end.
    """
    documented = bool(routers)
    app = FastAPI(
        title=service,
        version=settings.version,
        openapi_url="/openapi.json" if documented else None,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        routes=list(probes.routes(readiness, metrics=settings.metrics_port is None)),
        telemetry=_NO_TELEMETRY,
    )
    for router in routers:
        app.include_router(router)
    if documented:
        docs.install(app)
    app.state.settings = settings
    app.state.clients = clients
    app.state.database = None
    app.state.closing = asyncio.Event()
    problems.install(app)
    # The middleware that is added last is the outermost.
    app.add_middleware(
        BodyLimit, limit=settings.request_max_bytes, seconds=settings.http_body_timeout_seconds
    )
    app.add_middleware(
        AdmissionLimit,
        requests=Admission("HTTP requests", settings.http_max_requests, settings.http_max_waiting),
        streams=Admission("event streams", settings.http_max_event_streams),
        exempt=probes.PATHS,
    )
    app.add_middleware(
        RequestContext,
        timeout=settings.request_timeout_seconds,
        forwarding=Forwarding(settings.forward_headers, settings.forward_max_bytes),
        draining=lambda: readiness.draining,
        unseen=probes.PATHS,
    )
    proxied.install(app, settings)
    if tracing.enabled:
        sampled.instrument(app, probes.PATHS)
    return app
