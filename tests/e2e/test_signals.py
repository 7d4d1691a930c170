"""Metrics, traces and logs of each service: each order appears exactly once in all of them."""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import pytest
import pytest_asyncio
from storefront import Storefront, eventually
from trace_collector import Span, TraceCollector

from demo.settle import wait_ended
from devkit.platform import Platform

pytestmark = [
    pytest.mark.xdist_group("shop"),
    pytest.mark.asyncio(loop_scope="module"),
]

ORDERS = 5

PLACED = "shop.orders.v1.OrderPlaced"
RESERVED = "shop.inventory.v1.StockReserved"
AUTHORIZED = "shop.payments.v1.PaymentAuthorized"
CONFIRMED = "shop.orders.v1.OrderConfirmed"
PUBLISHED = {"orders": (PLACED, CONFIRMED), "inventory": (RESERVED,), "payments": (AUTHORIZED,)}
HANDLED = {
    "orders": (RESERVED, AUTHORIZED),
    "inventory": (PLACED, CONFIRMED),
    "payments": (RESERVED,),
    "notifications": (CONFIRMED,),
}
PLACE_ORDER = "shop.orders.v1.OrdersService/PlaceOrder"
QUOTE_PRODUCTS = "shop.inventory.v1.InventoryService/QuoteProducts"

# The spans of a confirmed order, (service, kind, span name), by the names of their steps.
STEPS = {
    ("gateway", "server", "POST /orders"): "post",
    ("orders", "server", "PlaceOrder"): "place",
    ("inventory", "server", "QuoteProducts"): "quote",
    ("orders", "producer", f"publish {PLACED}"): "placed",
    ("inventory", "consumer", f"handle {PLACED}"): "reserve",
    ("inventory", "producer", f"publish {RESERVED}"): "reserved",
    ("payments", "consumer", f"handle {RESERVED}"): "pay",
    ("orders", "consumer", f"handle {RESERVED}"): "note",
    ("payments", "producer", f"publish {AUTHORIZED}"): "authorized",
    ("orders", "consumer", f"handle {AUTHORIZED}"): "confirm",
    ("orders", "producer", f"publish {CONFIRMED}"): "confirmed",
    ("notifications", "consumer", f"handle {CONFIRMED}"): "notify",
}

AT_REST_ZERO: list[tuple[str, ...]] = [
    ("event_tasks", "state=waiting"),
    ("event_dead_letters",),
    ("event_lag",),
    ("event_lanes_stopped",),
    ("outbox_oldest_seconds",),
]

Counts = Mapping[tuple[str, ...], float]


@dataclass(frozen=True, slots=True)
class Observed:
    """The metrics and log lines of all services while orders were placed and confirmed."""

    trace_ids: Sequence[str]
    metrics: Mapping[str, Counts]
    """Increase of each sample, by service."""
    lines: Mapping[str, Sequence[Mapping[str, object]]]
    """JSON log lines, by service."""


async def _read_metrics(shop: Storefront) -> dict[str, Counts]:
    return {process.service: await shop.metrics(process) for process in shop.platform.processes}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def observed(request: pytest.FixtureRequest) -> Observed:
    async with Storefront(request.getfixturevalue("platform")) as shop:
        sku = await shop.product()
        await wait_ended(shop.platform)
        before = await _read_metrics(shop)
        written = {process.service: len(process.lines()) for process in shop.platform.processes}
        trace_ids = [f"{0xE2E << 32 | number:032x}" for number in range(ORDERS)]
        for trace_id in trace_ids:
            answer = await shop.order(
                sku, headers={"traceparent": f"00-{trace_id}-00000000000000e2-01"}
            )
            assert answer.status_code == 202
            await shop.wait_ended(answer.json()["order_id"])
        await wait_ended(shop.platform)
        after = await _read_metrics(shop)
        return Observed(
            trace_ids=trace_ids,
            metrics={
                service: {key: value - before[service].get(key, 0) for key, value in now.items()}
                for service, now in after.items()
            },
            lines={
                process.service: [
                    json.loads(line) for line in process.lines()[written[process.service] :]
                ]
                for process in shop.platform.processes
            },
        )


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def traces(observed: Observed, collector: TraceCollector) -> list[list[Span]]:
    """The spans of each order, when all of them have been received."""

    async def complete() -> list[list[Span]]:
        found = [collector.trace(trace_id) for trace_id in observed.trace_ids]
        return found if all(find(trace, *step) for trace in found for step in STEPS) else []

    return await eventually(complete, "the spans of all steps are received", every=0.3)


@pytest.mark.parametrize(
    ("service", "type"), [(service, type) for service, types in HANDLED.items() for type in types]
)
async def test_each_handler_counts_every_order_once(
    observed: Observed, service: str, type: str
) -> None:
    counts = observed.metrics[service]

    assert counts["events_handled_total", f"type={type}"] == ORDERS
    assert counts["event_latency_seconds_count", f"type={type}"] == ORDERS
    # A batch handler counts its calls, not its events.
    calls = counts["event_handler_seconds_count", f"type={type}"]
    assert 1 <= calls <= ORDERS
    assert counts.get(("events_failed_total", f"type={type}"), 0) == 0
    assert counts.get(("events_lost_total", f"type={type}"), 0) == 0


@pytest.mark.parametrize(
    ("service", "type"), [(service, type) for service, types in PUBLISHED.items() for type in types]
)
async def test_each_publisher_counts_every_order_once(
    observed: Observed, service: str, type: str
) -> None:
    assert observed.metrics[service]["events_published_total", f"type={type}"] == ORDERS


async def test_no_other_event_is_counted(observed: Observed) -> None:
    grown = {
        service: {
            key[1].removeprefix("type=")
            for key, value in counts.items()
            if value and key[0] in ("events_handled_total", "events_published_total")
        }
        for service, counts in observed.metrics.items()
        if service == "gateway" or service in HANDLED
    }

    assert grown == {
        "gateway": set(),
        **{name: {*HANDLED[name], *PUBLISHED.get(name, ())} for name in HANDLED},
    }


async def test_the_gateway_counts_and_times_every_request(observed: Observed) -> None:
    counts = observed.metrics["gateway"]

    assert counts["http_requests_total", "handler=/orders", "method=POST", "status=202"] == ORDERS
    timed = sum(
        value
        for key, value in counts.items()
        if key[:3] == ("http_request_duration_seconds_count", "handler=/orders", "method=POST")
    )
    assert timed == ORDERS


@pytest.mark.parametrize(
    ("service", "method"), [("orders", PLACE_ORDER), ("inventory", QUOTE_PRODUCTS)]
)
async def test_the_called_services_count_and_time_every_call(
    observed: Observed, service: str, method: str
) -> None:
    counts = observed.metrics[service]

    assert counts["grpc_server_handled_total", "code=OK", f"method={method}"] == ORDERS
    assert counts["grpc_server_handling_seconds_count", f"method={method}"] == ORDERS


@pytest.mark.parametrize("service", list(HANDLED))
async def test_at_rest_every_gauge_is_at_zero(
    observed: Observed, platform: Platform, service: str
) -> None:
    (process,) = platform.of(service)
    async with Storefront(platform) as shop:

        async def at_rest() -> bool:
            # Gauges are measured periodically.
            metrics = await shop.metrics(process)
            return [metrics[gauge] for gauge in AT_REST_ZERO] == [0] * len(AT_REST_ZERO)

        await eventually(at_rest, f"the gauges of {service} are zero")
        assert (await shop.metrics(process))["event_lanes",] > 0


async def test_every_order_is_one_trace_over_all_services(traces: list[list[Span]]) -> None:
    services = {"gateway", *HANDLED}
    assert [services - {span.service for span in trace} for trace in traces] == [set()] * ORDERS


async def test_a_trace_reaches_from_the_post_to_the_notification(
    traces: list[list[Span]],
) -> None:
    """Each span is below its cause, through gRPC, outbox and every handler."""
    for trace in traces:
        steps = {name: only(trace, *step) for step, name in STEPS.items()}
        parents = {
            name: ancestor_in(span, trace, set(steps.values()) - {span})
            for name, span in steps.items()
        }
        assert {name: parent and name_of(parent, steps) for name, parent in parents.items()} == {
            "post": None,
            "place": "post",
            "quote": "post",
            "placed": "place",
            "reserve": "placed",
            "reserved": "reserve",
            "pay": "reserved",
            "note": "reserved",
            "authorized": "pay",
            "confirm": "authorized",
            "confirmed": "confirm",
            "notify": "confirmed",
        }
        assert steps["post"].parent == "00000000000000e2"
        assert not [span for span in trace if span.failed]


async def test_a_call_has_a_span_of_the_client(
    traces: list[list[Span]],
) -> None:
    for trace in traces:
        server = only(trace, "orders", "server", "PlaceOrder")
        (client,) = [span for span in trace if span.span_id == server.parent]
        assert (client.service, client.kind) == ("gateway", "client")


async def test_the_statements_of_a_call_are_in_its_trace(traces: list[list[Span]]) -> None:
    for trace in traces:
        place = only(trace, "orders", "server", "PlaceOrder")
        below = [
            span
            for span in trace
            if span.service == "orders" and ancestor_in(span, trace, {place}) == place
        ]
        assert any("db.statement" in s.attributes or "db.system" in s.attributes for s in below)


async def test_a_batch_has_another_trace_that_links_to_its_orders(
    traces: list[list[Span]], collector: TraceCollector, observed: Observed
) -> None:
    """Batches are the calls of the batch handler in inventory, and the commits."""
    commits = {
        (service, f"take {stream}")
        for service, streams in {
            "inventory": ["orders"],
            "payments": ["inventory"],
            "notifications": ["orders"],
            "orders": ["inventory", "payments"],
        }.items()
        for stream in streams
    }

    async def linked() -> Counter[tuple[str, str]] | None:
        found: Counter[tuple[str, str]] = Counter()
        for span in collector.all_spans():
            orders = [trace_id for trace_id, _ in span.links if trace_id in observed.trace_ids]
            assert not orders or span.trace_id not in observed.trace_ids
            found[span.service, span.name] += len(orders)
        handled = found["inventory", f"handle {CONFIRMED}"]
        complete = handled == ORDERS and all(found[commit] >= ORDERS for commit in commits)
        return found if complete else None

    await eventually(linked, "every batch links to its orders")


@pytest.mark.parametrize("service", ["gateway", *HANDLED])
async def test_log_lines_of_each_service_have_the_trace_ids_of_the_orders(
    observed: Observed, service: str
) -> None:
    lines = observed.lines[service]

    assert {line.get("trace_id") for line in lines} >= set(observed.trace_ids)
    assert {line["service"] for line in lines} == {service}
    assert all({"event", "level", "timestamp", "version"} <= line.keys() for line in lines)


@pytest.mark.parametrize("service", list(HANDLED))
async def test_log_lines_of_handlers_have_the_event_ids(observed: Observed, service: str) -> None:
    counts = Counter(
        str(line["event"])
        for line in observed.lines[service]
        if line.get("trace_id") in observed.trace_ids and line.get("event_id")
    )
    one_by_one = set(HANDLED[service]) - ({CONFIRMED} if service == "inventory" else set())

    assert counts == {f"handler returned: {type}": ORDERS for type in one_by_one}


async def test_no_service_logs_a_warning_about_an_order(observed: Observed) -> None:
    warnings = [
        line
        for lines in observed.lines.values()
        for line in lines
        if line["level"] not in ("debug", "info") and line.get("trace_id") in observed.trace_ids
    ]
    assert warnings == []


def only(trace: list[Span], service: str, kind: str, name: str) -> Span:
    """Return the only span of a trace with these properties; its name may have a path in front."""
    found = find(trace, service, kind, name)
    assert len(found) == 1, (service, kind, name, [(s.service, s.kind, s.name) for s in trace])
    return found[0]


def find(trace: list[Span], service: str, kind: str, name: str) -> list[Span]:
    return [
        span
        for span in trace
        if (span.service, span.kind) == (service, kind)
        and (span.name == name or span.name.endswith(f"/{name}"))
    ]


def ancestor_in(span: Span, trace: list[Span], candidates: set[Span]) -> Span | None:
    """Return the nearest ancestor of a span that is in `candidates`."""
    by_id = {other.span_id: other for other in trace}
    above = by_id.get(span.parent)
    while above is not None and above not in candidates:
        above = by_id.get(above.parent)
    return above


def name_of(span: Span, steps: Mapping[str, Span]) -> str:
    return next(name for name, step in steps.items() if step is span)
