"""The HTTP application of a service: its probes and its own routers, within the middleware."""

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
from chassis.http.admission import AdmissionLimit
from chassis.http.middleware import BodyLimit, RequestContext
from chassis.readiness import Readiness
from chassis.rpc.client import Clients
from chassis.settings import ServiceSettings
from chassis.telemetry import tracing

__all__ = ["create_app", "instrumentations"]

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
        unlogged=probes.PATHS,
    )
    app.add_middleware(
        PrometheusInstrumentatorMiddleware,
        should_group_status_codes=False,
        excluded_handlers=[f"^{path}$" for path in probes.PATHS],
        instrumentations=instrumentations(),
    )
    proxied.install(app, settings)
    if tracing.enabled:
        _instrument(app)
    return app


@cache
def instrumentations() -> tuple[Callable[[metrics.Info], None], ...]:
    """Return the functions that count and time requests.

    They are cached, because the registry refuses a second metric of the same name.
    """
    made = (metrics.requests(), metrics.latency(should_exclude_streaming_duration=True))
    return tuple(_with_known_methods(each) for each in made if each is not None)


# The methods of RFC 9110 and RFC 5789. Any other is counted as "other", because clients could
# otherwise create metric series without limit.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})


def _with_known_methods(
    instrumentation: Callable[[metrics.Info], None],
) -> Callable[[metrics.Info], None]:
    """Return the instrumentation with unknown HTTP methods counted as 'other'."""

    def instrument(info: metrics.Info) -> None:
        if info.method not in _METHODS:
            info.method = "other"
        instrumentation(info)

    return instrument


def _instrument(app: FastAPI) -> None:
    """Record a span for each request, except for probes."""
    from opentelemetry.instrumentation.fastapi import FastAPIInstrumentor
    from opentelemetry.metrics import NoOpMeterProvider

    FastAPIInstrumentor.instrument_app(
        app,
        tracer_provider=tracing.provider,
        meter_provider=NoOpMeterProvider(),
        excluded_urls=",".join(f"{path}$" for path in probes.PATHS),
        exclude_spans=["receive", "send"],
    )
