"""Standard OTEL_… variables configure traces too; an APP_… setting takes precedence over them."""

import os
from collections.abc import Iterator

import pytest
from collector import Collector, Received

from chassis import ServiceSettings
from chassis.settings_loading import load
from chassis.telemetry import export, tracing


@pytest.fixture(autouse=True)
def _no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in os.environ:
        if name.startswith(("OTEL_", "APP_")):
            monkeypatch.delenv(name)


@pytest.fixture
def collector() -> Iterator[Collector]:
    with Collector() as started:
        yield started


@pytest.fixture
def given(collector: Collector, monkeypatch: pytest.MonkeyPatch) -> "Given":
    return Given(collector, monkeypatch)


class Given:
    """Environment variables, in which GRPC and HTTP stand for the collector's endpoints."""

    def __init__(self, collector: Collector, monkeypatch: pytest.MonkeyPatch) -> None:
        self._collector = collector
        self._monkeypatch = monkeypatch

    async def send_span(self, **variables: str) -> list[Received]:
        """Set the variables, send a span, and return what the collector received."""
        for name, value in variables.items():
            value = value.replace("GRPC", self._collector.over_grpc)
            self._monkeypatch.setenv(name, value.replace("HTTP", self._collector.over_http))
        settings = load(ServiceSettings)
        assert list(export.problems(settings)) == []
        tracing.configure("bookshop", settings)
        with tracing.start_span("sale"):
            pass
        await tracing.shutdown(60)
        return self._collector.received


@pytest.mark.parametrize(
    ("variables", "by"),
    [
        ({"APP_OTLP_ENDPOINT": "GRPC"}, "grpc"),
        ({"APP_OTLP_ENDPOINT": "HTTP", "APP_OTLP_PROTOCOL": "http/protobuf"}, "/v1/traces"),
        ({"APP_OTLP_ENDPOINT": "HTTP/in", "APP_OTLP_PROTOCOL": "http/protobuf"}, "/in"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "GRPC"}, "grpc"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "GRPC"}, "grpc"),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "HTTP",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
            },
            "/v1/traces",
        ),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "GRPC",
                "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "HTTP/spans",
                "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf",
            },
            "/spans",
        ),
        ({"APP_OTLP_ENDPOINT": "GRPC", "OTEL_EXPORTER_OTLP_ENDPOINT": "HTTP"}, "grpc"),
        ({"APP_OTLP_ENDPOINT": "GRPC", "OTEL_TRACES_EXPORTER": "none"}, "grpc"),
    ],
)
async def test_spans_go_to_the_endpoint_that_is_set(
    given: Given, variables: dict[str, str], by: str
) -> None:
    assert [(span.name, span.by) for span in await given.send_span(**variables)] == [("sale", by)]


@pytest.mark.parametrize(
    "variables",
    [
        {},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "GRPC", "OTEL_SDK_DISABLED": "true"},
        {"APP_OTLP_ENDPOINT": "GRPC", "OTEL_SDK_DISABLED": "TRUE"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "GRPC", "OTEL_TRACES_EXPORTER": "none"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "GRPC", "OTEL_TRACES_SAMPLER": "always_off"},
        {"OTEL_EXPORTER_OTLP_ENDPOINT": "GRPC", "APP_TRACE_SAMPLE_RATIO": "0"},
    ],
)
async def test_nothing_is_recorded_without_an_exporter_or_a_sample(
    given: Given, variables: dict[str, str]
) -> None:
    assert await given.send_span(**variables) == []


async def test_a_ratio_takes_precedence_over_the_sampler(given: Given) -> None:
    sent = await given.send_span(
        OTEL_EXPORTER_OTLP_ENDPOINT="GRPC",
        OTEL_TRACES_SAMPLER="always_off",
        APP_TRACE_SAMPLE_RATIO="1",
    )
    assert len(sent) == 1


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_the_service_attributes_and_headers_are_as_the_variables_say(
    given: Given, protocol: str
) -> None:
    (span,) = await given.send_span(
        OTEL_EXPORTER_OTLP_ENDPOINT="GRPC" if protocol == "grpc" else "HTTP",
        OTEL_EXPORTER_OTLP_PROTOCOL=protocol,
        OTEL_EXPORTER_OTLP_HEADERS="api-key=secret,tenant=books",
        OTEL_SERVICE_NAME="corner-shop",
        OTEL_RESOURCE_ATTRIBUTES="service.version=1,deployment.environment.name=attic,team=books",
        APP_VERSION="7",
    )
    names = ("service.name", "service.version", "deployment.environment.name", "team")
    assert [span.resource[name] for name in names] == ["corner-shop", "7", "attic", "books"]
    assert (span.headers["api-key"], span.headers["tenant"]) == ("secret", "books")


@pytest.mark.parametrize("protocol", ["grpc", "http/protobuf"])
async def test_a_proxy_in_the_environment_is_not_used_by_default(
    given: Given, monkeypatch: pytest.MonkeyPatch, protocol: str
) -> None:
    for name in ("http_proxy", "https_proxy", "grpc_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    endpoint = {"grpc": "GRPC", "http/protobuf": "HTTP"}[protocol]
    sent = await given.send_span(APP_OTLP_ENDPOINT=endpoint, APP_OTLP_PROTOCOL=protocol)
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        (
            {"OTEL_TRACES_EXPORTER": "zipkin"},
            "OTEL_TRACES_EXPORTER: zipkin is unknown; it can be otlp, console, none",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json"},
            "OTEL_EXPORTER_OTLP_PROTOCOL: http/json is unknown; it can be grpc, http/protobuf",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_PROPAGATORS": "tracecontext,none-such"},
            "OTEL_PROPAGATORS: none-such is unknown; it can be none, baggage, tracecontext",
        ),
        (
            {"OTEL_TRACES_EXPORTER": "otlp", "OTEL_TRACES_SAMPLER": "sometimes"},
            "OTEL_TRACES_SAMPLER: sometimes is unknown; it can be always_on",
        ),
        (
            {
                "APP_OTLP_ENDPOINT": "http://127.0.0.1:4317",
                "OTEL_TRACES_SAMPLER": "traceidratio",
                "OTEL_TRACES_SAMPLER_ARG": "5%",
            },
            "OTEL_TRACES_SAMPLER_ARG: must be a number from 0 to 1",
        ),
    ],
)
def test_an_invalid_variable_is_reported_in_one_line(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    (line,) = export.problems(load(ServiceSettings))
    assert line.startswith(said)
