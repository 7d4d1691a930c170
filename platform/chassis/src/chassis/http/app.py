"""The HTTP side of a service: probes, and what routers it adds."""

import asyncio
from collections.abc import Callable, Sequence
from functools import cache

from fastapi import APIRouter, FastAPI
from fastapi.telemetry import TelemetryConfig
from prometheus_fastapi_instrumentator import metrics
from prometheus_fastapi_instrumentator.middleware import PrometheusInstrumentatorMiddleware

from chassis.admission import Admission
from chassis.forwarding import Forwarding
from chassis.http import docs, probes, problems, proxied
from chassis.http.admission import Door
from chassis.http.edge import BodyLimit, Edge
from chassis.readiness import Readiness
from chassis.rpc.client import Clients
from chassis.settings import ServiceSettings
from chassis.telemetry import tracing

__all__ = ["create_app"]

# Its own telemetry begins spans as soon as there is a provider, beside the instrumentation's.
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
    """The application. Its `state` has `settings`, `clients`, `database` (None until it is open),
    and `closing`: an asyncio.Event that is set when long answers must come to their end."""
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
    # The last added is the outermost.
    app.add_middleware(
        BodyLimit, limit=settings.request_max_bytes, seconds=settings.http_body_timeout_seconds
    )
    app.add_middleware(
        Door,
        requests=Admission("HTTP requests", settings.http_max_requests, settings.http_max_waiting),
        streams=Admission("event streams", settings.http_max_event_streams),
        open_to=probes.PATHS,
    )
    app.add_middleware(
        Edge,
        timeout=settings.request_timeout_seconds,
        forwarding=Forwarding(settings.forward_headers, settings.forward_max_bytes),
        draining=lambda: readiness.draining,
        unlogged=probes.PATHS,
    )
    app.add_middleware(
        PrometheusInstrumentatorMiddleware,
        should_group_status_codes=False,
        excluded_handlers=[f"^{path}$" for path in probes.PATHS],
        instrumentations=_instrumentations(),
    )
    proxied.install(app, settings)
    if tracing.enabled:
        _trace(app)
    return app


@cache
def _instrumentations() -> tuple[Callable[[metrics.Info], None], ...]:
    # Once per process: the registry refuses a second metric of the same name.
    made = (metrics.requests(), metrics.latency(should_exclude_streaming_duration=True))
    return tuple(
        _bounded(instrumentation) for instrumentation in made if instrumentation is not None
    )


# Of RFC 9110 and RFC 5789. Strangers ask by any other, and each would be a series of its own.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _bounded(instrumentation: Callable[[metrics.Info], None]) -> Callable[[metrics.Info], None]:
    def instrument(info: metrics.Info) -> None:
        if info.method not in _METHODS:
            info.method = "other"
        instrumentation(info)

    return instrument


def _trace(app: FastAPI) -> None:
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.metrics import NoOpMeterProvider

    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=tracing.provider,
        meter_provider=NoOpMeterProvider(),
        excluded_urls=",".join(f"{path}$" for path in probes.PATHS),
        exclude_spans=["receive", "send"],
    )
