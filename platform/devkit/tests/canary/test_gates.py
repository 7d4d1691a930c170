"""The table of gates names metrics and labels that a service reports."""

from collections import defaultdict
from collections.abc import Iterator

import pytest
from fastapi import APIRouter
from http_app import client_for, make_app

from chassis.telemetry import metrics
from devkit.canary.analysis import GATES, metric_names
from devkit.canary.analysis.gates import DistanceGate, ShareGate
from devkit.canary.analysis.selectors import Selector
from devkit.canary.metrics import read_pod_text

router = APIRouter()


@router.get("/books/{book_id}")
async def book(book_id: str) -> str:
    return book_id


@pytest.fixture
async def reported() -> dict[str, set[str]]:
    """The labels of each metric that a service reports after a request, by the metric's name."""
    events, call = {"type": "bookstore.v1.BookSold"}, {"method": "bookstore.v1.Books/GetBook"}
    metrics.EVENTS_HANDLED.labels(**events)
    metrics.EVENTS_FAILED_AT_FIRST.labels(**events)
    metrics.EVENTS_GIVEN_UP.labels(**events, to="dead_letters")
    metrics.EVENT_HANDLER_SECONDS.labels(**events)
    metrics.EVENT_LATENCY_SECONDS.labels(**events)
    metrics.GRPC_HANDLED.labels(**call, code="OK")
    metrics.GRPC_HANDLING_SECONDS.labels(**call)
    metrics.EVENT_LAG.set(0)
    metrics.EVENT_LANES.set(0)
    async with client_for(make_app(router)) as http:
        await http.get("/books/1")
        page = (await http.get("/metrics")).text
    found: defaultdict[str, set[str]] = defaultdict(set)
    for series in read_pod_text(page, metric_names(GATES)):
        found[series.name] |= {label for label, _ in series.labels} - {"le"}
    return found


async def test_every_metric_of_a_gate_is_one_that_a_service_reports(
    reported: dict[str, set[str]],
) -> None:
    assert sorted(metric_names(GATES) - reported.keys()) == []


async def test_every_label_of_a_gate_is_one_that_its_metric_has(
    reported: dict[str, set[str]],
) -> None:
    unknown = [
        (selector.name, label)
        for selector, by in used()
        for label in (*by, *(matcher.label for matcher in selector.matchers))
        if label not in reported[selector.name]
    ]
    assert unknown == []


def used() -> Iterator[tuple[Selector, tuple[str, ...]]]:
    """Yield the selectors of the gates with the labels that tell kinds apart."""
    for gate in GATES:
        if isinstance(gate, ShareGate):
            yield from ((selector, gate.by) for selector in (*gate.bad, *gate.of))
        elif isinstance(gate, DistanceGate):
            yield gate.buckets, gate.by


@pytest.mark.unit
def test_the_names_of_gates_are_unique() -> None:
    assert len({gate.name for gate in GATES}) == len(GATES)
