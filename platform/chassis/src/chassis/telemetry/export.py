"""The destination of spans, from the service's settings and the standard OTEL_… variables.

An APP_… setting that is set takes precedence over its OTEL_… variable, and that over the default.
With OTEL_SDK_DISABLED=true nothing is recorded. The OpenTelemetry SDK itself reads the variables of
exporters (headers, certificates, timeouts, compression), of the batch processor and of span limits.
"""

import logging
import os
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace.export import SpanExporter
    from opentelemetry.sdk.trace.sampling import Sampler

    from chassis.settings import ServiceSettings

__all__ = ["RateLimit", "SpanExport", "export_of", "problems", "resource_of", "sampler_of"]

Protocol = Literal["grpc", "http/protobuf"]

_PROTOCOLS = ("grpc", "http/protobuf")
_EXPORTERS = ("otlp", "console", "none")
_EXPORT_SECONDS = 5
# Loggers that would write a line for each batch that an unavailable backend does not accept.
_EXPORT_LOGGERS = (
    "opentelemetry.exporter.otlp.proto.grpc.exporter",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "opentelemetry.sdk._shared_internal",
)


@dataclass(frozen=True, slots=True)
class SpanExport:
    """An exporter and where it sends spans.

    If `endpoint` is None, the exporter reads it from OTEL_… variables or uses its own default.
    """

    exporter: Literal["otlp", "console"]
    protocol: Protocol = "grpc"
    endpoint: str | None = None
    through_proxy: bool = False

    def make(self) -> "SpanExporter":
        """Return the exporter, which connects when it has spans to send."""
        if self.exporter == "console":
            from opentelemetry.sdk.trace.export import ConsoleSpanExporter

            return ConsoleSpanExporter(out=sys.stdout)
        for name in _EXPORT_LOGGERS:
            logging.getLogger(name).addFilter(RateLimit(60))
        return self._over_grpc() if self.protocol == "grpc" else self._over_http()

    def _over_grpc(self) -> "SpanExporter":
        """Return the OTLP exporter over gRPC."""
        from opentelemetry.exporter.otlp.proto.grpc.trace_exporter import OTLPSpanExporter

        endpoint = self.endpoint
        return OTLPSpanExporter(
            endpoint=endpoint,
            insecure=None if endpoint is None else not endpoint.startswith("https://"),
            timeout=_timeout(),
            channel_options=(("grpc.enable_http_proxy", int(self.through_proxy)),),  # type: ignore[arg-type]
        )

    def _over_http(self) -> "SpanExporter":
        """Return the OTLP exporter over HTTP; an endpoint without a path gets /v1/traces."""
        import requests
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter

        session = requests.Session()
        session.trust_env = self.through_proxy
        endpoint = self.endpoint
        if endpoint is not None and endpoint.rstrip("/").count("/") == 2:
            endpoint = endpoint.rstrip("/") + "/v1/traces"
        return OTLPSpanExporter(endpoint=endpoint, timeout=_timeout(), session=session)


def export_of(settings: "ServiceSettings") -> SpanExport | None:
    """Return where spans go, None if none are recorded."""
    if _variable("OTEL_SDK_DISABLED").lower() == "true":
        return None
    exporter = _variable("OTEL_TRACES_EXPORTER")
    endpoint = settings.otlp_endpoint
    if endpoint is None:
        if exporter == "console":
            return SpanExport("console")
        named = _variable("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
        if exporter == "none" or not (named or exporter == "otlp"):
            return None
    protocol = settings.otlp_protocol or _variable(
        "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL"
    )
    return SpanExport(
        "otlp",
        "http/protobuf" if protocol == "http/protobuf" else "grpc",
        endpoint,
        settings.proxy_from_environment,
    )


def problems(settings: "ServiceSettings") -> Iterator[str]:
    """Yield a line for each problem with the OTEL_… variables."""
    if export_of(settings) is None and _variable("OTEL_TRACES_EXPORTER") in ("", "none"):
        return
    yield from _unknown_values("OTEL_TRACES_EXPORTER", _EXPORTERS)
    yield from _unknown_values("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", _PROTOCOLS)
    yield from _unknown_values("OTEL_EXPORTER_OTLP_PROTOCOL", _PROTOCOLS)
    yield from _unknown_values("OTEL_TRACES_SAMPLER", _SAMPLERS, "opentelemetry_traces_sampler")
    if _variable("OTEL_TRACES_SAMPLER").endswith("traceidratio"):
        yield from _invalid_ratio("OTEL_TRACES_SAMPLER_ARG")
    yield from _unknown_values("OTEL_PROPAGATORS", ("none",), "opentelemetry_propagator")


_SAMPLERS = tuple(
    parent + name
    for parent in ("", "parentbased_")
    for name in ("always_on", "always_off", "traceidratio")
)


def _unknown_values(name: str, known: Sequence[str], entry_point_group: str = "") -> Iterator[str]:
    """Yield a line for each value of a variable that is neither known nor an entry point."""
    values = [value.strip() for value in _variable(name).split(",") if value.strip()]
    # The look-up of entry points is slow, so that it is left out if the variable is unset.
    if values and entry_point_group:
        known = [*known, *sorted(entry_points(group=entry_point_group).names - set(known))]
    for value in values:
        if value not in known:
            yield f"{name}: {value} is unknown; it can be {', '.join(known)}"


def _invalid_ratio(name: str) -> Iterator[str]:
    """Yield a line if a variable is set and not a number from 0 to 1."""
    value = _variable(name)
    try:
        fits = not value or 0 <= float(value) <= 1
    except ValueError:
        fits = False
    if not fits:
        yield f"{name}: must be a number from 0 to 1"


def resource_of(service: str, settings: "ServiceSettings") -> "Resource":
    """Return the attributes of the process, which are sent with its spans."""
    from opentelemetry.sdk.resources import OTELResourceDetector, Resource

    detected = OTELResourceDetector().detect().attributes
    settings_attributes = {
        "service.name": (service, False),
        "service.version": (settings.version, "version" in settings.model_fields_set),
        "deployment.environment.name": (
            settings.environment,
            "environment" in settings.model_fields_set,
        ),
    }
    chosen = {
        name: value
        for name, (value, is_set) in settings_attributes.items()
        if is_set or name not in detected
    }
    return Resource.create(chosen)


def sampler_of(settings: "ServiceSettings") -> "Sampler | None":
    """Return the sampler of traces started here; None if the SDK reads OTEL_TRACES_SAMPLER."""
    from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased

    is_set = "trace_sample_ratio" in settings.model_fields_set
    if _variable("OTEL_TRACES_SAMPLER") and not is_set:
        return None
    return ParentBased(TraceIdRatioBased(settings.trace_sample_ratio))


def _timeout() -> float | None:
    """Return the seconds for one batch; None if the exporter reads them from its variables."""
    named = _variable("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "OTEL_EXPORTER_OTLP_TIMEOUT")
    return None if named else _EXPORT_SECONDS


def _variable(*names: str) -> str:
    """Return the first of these variables that is set and not empty, else an empty string."""
    return next((value for name in names if (value := os.environ.get(name, "").strip())), "")


class RateLimit(logging.Filter):
    """A filter that passes at most one record in `seconds`."""

    def __init__(self, seconds: float) -> None:
        super().__init__()
        self._seconds = seconds
        self._next = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        now = time.monotonic()
        if now < self._next:
            return False
        self._next = now + self._seconds
        return True
