"""Traces: one from a request to its SQL statements, and none without a backend."""

import io
import json
from collections.abc import AsyncIterator, Callable
from itertools import pairwise

import httpx
import pytest
import pytest_asyncio
import structlog
from books_rpc import Books, Servers, raw_channel
from bookshop import eventually, journal
from fastapi import APIRouter
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from sqlalchemy import bindparam, delete, text

from bookstore.v1 import (
    BooksServiceStub,
    GetBookRequest,
    GetBookResponse,
    SellBookRequest,
    SellBookResponse,
)
from chassis import NotFound, ReadTransaction, ServiceSettings, Transaction
from chassis.http.app import create_app
from chassis.readiness import Readiness
from chassis.rpc import Clients
from chassis.telemetry import logging as service_logging
from chassis.telemetry import trace_context, tracing

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
NewDatabase = Callable[[str], str]
Spans = Callable[[], list[ReadableSpan]]
router = APIRouter()


@router.get("/books/{book_id}")
async def book(book_id: str, books: Books) -> str:
    structlog.get_logger().info("asking")
    await books.GetBook(GetBookRequest(book_id=book_id))
    return book_id


class Shelf:
    def get_book(self, request: GetBookRequest, tx: ReadTransaction) -> GetBookResponse:
        structlog.get_logger().info("looking")
        tx.session.execute(text("SELECT 7"))
        return GetBookResponse()

    def sell_book(self, request: SellBookRequest, tx: Transaction) -> SellBookResponse:
        raise NotImplementedError


@pytest_asyncio.fixture
async def spans() -> AsyncIterator[Spans]:
    async for recording in _recording(ServiceSettings()):
        yield recording


async def _recording(settings: ServiceSettings) -> AsyncIterator[Spans]:
    exporter = InMemorySpanExporter()
    tracing.configure("bookshop", settings, exporter)

    def finished() -> list[ReadableSpan]:
        assert tracing.provider is not None
        tracing.provider.force_flush()
        return list(exporter.get_finished_spans())

    yield finished
    await tracing.shutdown(5)


async def gateway(rpc: Servers, url: str) -> httpx.AsyncClient:
    """Return a client of a service that calls another service, which reads from its database."""
    database = rpc.database(url)
    tracing.instrument_engines(database.engine, database.read_engine)
    server = await rpc.start(Shelf, database=database)
    clients = await rpc.clients(server.port)
    app = create_app("gateway", [router], ServiceSettings(), Readiness(), clients)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://gateway")


async def test_a_request_its_call_and_its_statement_are_one_trace(
    spans: Spans, rpc: Servers, new_database: NewDatabase
) -> None:
    async with await gateway(rpc, new_database("books")) as http:
        await http.get("/books/7")
    statements = [span for span in spans() if span.name.startswith("SELECT")]
    found = {
        (span.name, span.kind): span
        for span in spans()
        if not span.name.startswith(("SELECT", "BEGIN", "SET"))
    }
    method = "/bookstore.v1.BooksService/GetBook"
    chain = [
        found.pop(("GET /books/{book_id}", SpanKind.SERVER)),
        found.pop((method, SpanKind.CLIENT)),
        found.pop((method, SpanKind.SERVER)),
        *statements,
    ]
    assert len(chain) == 4
    assert found == {}, "nothing is recorded twice"
    for parent, child in pairwise(chain):
        assert child.parent is not None
        assert child.parent.span_id == parent.context.span_id
        assert child.context.trace_id == parent.context.trace_id
    assert chain[0].parent is None


async def test_statements_outside_of_a_trace_start_none(
    spans: Spans, rpc: Servers, new_database: NewDatabase
) -> None:
    database = rpc.database(new_database("books"))
    tracing.instrument_engines(database.engine, database.read_engine)
    await database.read(lambda tx: tx.session.execute(text("SELECT 7")))
    assert spans() == []


async def test_a_change_within_a_trace_is_sent_at_its_place(
    spans: Spans, rpc: Servers, new_database: NewDatabase
) -> None:
    database = rpc.database(new_database("books"))
    tracing.instrument_engines(database.engine, database.read_engine)
    change = delete(journal).where(journal.c.book_id == bindparam("book"))

    def work(tx: Transaction) -> None:
        tx.defer_changes()
        for book in ("first", "second", "third"):
            with tracing.start_span(book):
                tx.session.execute(change, {"book": book})

    await database.transaction(work)
    handlers = {span.context.span_id: span.name for span in spans()}
    statements = [span for span in spans() if span.name.startswith("DELETE")]
    assert [handlers[s.parent.span_id] for s in statements if s.parent] == [
        "first",
        "second",
        "third",
    ]


@pytest.mark.usefixtures("own_logging")
async def test_log_lines_on_the_loop_and_on_a_thread_name_the_trace(
    spans: Spans, rpc: Servers, new_database: NewDatabase
) -> None:
    out = io.StringIO()
    service_logging.configure("gateway", ServiceSettings(), out)
    async with await gateway(rpc, new_database("books")) as http:
        await http.get("/books/7", headers={"traceparent": TRACEPARENT})
    lines = {line["event"]: line for line in map(json.loads, out.getvalue().splitlines())}
    for event in ("asking", "looking", "request ended"):
        assert lines[event]["trace_id"] == TRACEPARENT[3:35]
    assert lines["asking"]["span_id"] != lines["looking"]["span_id"]


async def test_an_incoming_trace_is_continued(
    spans: Spans, rpc: Servers, new_database: NewDatabase
) -> None:
    async with await gateway(rpc, new_database("books")) as http:
        await http.get("/books/7", headers={"traceparent": TRACEPARENT})
    assert {f"{span.context.trace_id:032x}" for span in spans()} >= {TRACEPARENT[3:35]}
    (first,) = (span for span in spans() if span.name == "GET /books/{book_id}")
    assert first.parent is not None
    assert f"{first.parent.span_id:016x}" == TRACEPARENT[36:52]


async def test_probes_are_not_traced(spans: Spans, rpc: Servers, new_database: NewDatabase) -> None:
    async with await gateway(rpc, new_database("books")) as http:
        for path in ("/livez", "/readyz", "/startupz", "/metrics"):
            await http.get(path)
    assert spans() == []


async def test_health_checks_are_not_traced(
    spans: Spans, rpc: Servers, new_database: NewDatabase
) -> None:
    server = await rpc.start(Shelf, database=rpc.database(new_database("books")))
    async with raw_channel(server.port) as channel:
        await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
    assert spans() == []


async def test_a_trace_that_is_not_sampled_is_passed_on_without_recording() -> None:
    async for spans in _recording(ServiceSettings(trace_sample_ratio=0)):
        with tracing.start_span("sale"):
            traceparent = trace_context.current_traceparent()
        assert traceparent is not None
        assert int(traceparent[-2:], 16) & 1 == 0
        assert spans() == []
        with tracing.start_span("sale", traceparent=TRACEPARENT):
            pass
        assert [span.name for span in spans()] == ["sale"], (
            "the parent's decision to sample applies"
        )


async def test_a_span_has_its_parent_links_kind_and_attributes(spans: Spans) -> None:
    with tracing.start_span(
        "handle",
        traceparent=TRACEPARENT,
        tracestate="vendor=1",
        kind="consumer",
        attributes={"lane": 7},
    ) as handle:
        handle.set_attribute("own", True)
        assert trace_context.current_trace()[1] == "vendor=1"
        with tracing.start_span("batch", root=True, links=[TRACEPARENT]):
            pass
    batch, handled = spans()
    assert handled.parent is not None
    assert f"{handled.parent.span_id:016x}" == TRACEPARENT[36:52]
    assert (handled.kind, dict(handled.attributes or {})) == (
        SpanKind.CONSUMER,
        {"lane": 7, "own": True},
    )
    assert batch.parent is None
    assert batch.context.trace_id != handled.context.trace_id
    assert [f"{link.context.trace_id:032x}" for link in batch.links] == [TRACEPARENT[3:35]]


async def test_an_exception_marks_its_span_as_failed(spans: Spans) -> None:
    with pytest.raises(ValueError, match="boom"), tracing.start_span("sale"):
        raise ValueError("boom")
    (span,) = spans()
    assert span.status.status_code is StatusCode.ERROR


def test_without_a_backend_a_span_keeps_its_parent_as_the_current_one() -> None:
    assert not tracing.enabled
    assert trace_context.current_trace() == (None, None)
    with tracing.start_span("sale"):
        assert trace_context.current_trace() == (None, None)
    with tracing.start_span("sale", traceparent=TRACEPARENT, tracestate="vendor=1") as span:
        assert not span.is_recording()
        assert trace_context.current_trace() == (TRACEPARENT, "vendor=1")
        with tracing.start_span("inner"):
            assert trace_context.current_traceparent() == TRACEPARENT
    assert trace_context.current_trace() == (None, None)


async def test_the_resource_names_the_service_its_version_and_environment() -> None:
    async for _ in _recording(ServiceSettings(version="7")):
        assert tracing.provider is not None
        attributes = tracing.provider.resource.attributes
        assert attributes["service.name"] == "bookshop"
        assert attributes["service.version"] == "7"
        assert attributes["deployment.environment.name"] == "development"


async def test_an_unrecorded_request_passes_on_its_trace_and_baggage() -> None:
    passed_on: list[tuple[str | None, list[tuple[str, str]]]] = []
    routes = APIRouter()

    @routes.get("/context")
    async def note_context() -> None:
        passed_on.append((trace_context.current_traceparent(), trace_context.current_headers()))

    unsampled = f"{TRACEPARENT[:-2]}00"
    async for spans in _recording(ServiceSettings(trace_sample_ratio=0)):
        settings = ServiceSettings()
        app = create_app(
            "gateway", [routes], settings, Readiness(), Clients("gateway", (), settings)
        )
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://gateway") as http:
            await http.get("/context")
            await http.get("/context", headers={"traceparent": unsampled, "baggage": "tenant=7"})
            await http.get("/context", headers={"traceparent": TRACEPARENT})
        assert [span.name for span in spans()] == ["GET /context"]
    started, continued, recorded = passed_on
    assert started[0] is not None
    assert int(started[0][-2:], 16) & 1 == 0
    assert continued[0] is not None
    assert continued[0][:36] == unsampled[:36]
    assert int(continued[0][-2:], 16) & 1 == 0
    assert ("baggage", "tenant=7") in continued[1]
    assert recorded[0] is not None
    assert recorded[0][3:35] == TRACEPARENT[3:35]
    assert int(recorded[0][-2:], 16) & 1 == 1


def noting_books(note: Callable[[], None]) -> type:
    """Return the books' methods, of which GetBook calls `note`."""

    class Noting:
        def get_book(self, request: GetBookRequest) -> GetBookResponse:
            note()
            return GetBookResponse()

        def sell_book(self, request: SellBookRequest) -> SellBookResponse:
            raise NotImplementedError

    return Noting


async def test_an_unrecorded_call_passes_on_its_trace(rpc: Servers) -> None:
    passed_on: list[str | None] = []
    noting = noting_books(lambda: passed_on.append(trace_context.current_traceparent()))
    unsampled = f"{TRACEPARENT[:-2]}00"
    async for spans in _recording(ServiceSettings(trace_sample_ratio=0)):
        server = await rpc.start(noting)
        async with raw_channel(server.port) as channel:
            books = BooksServiceStub(channel)
            for sent in ((), (("traceparent", unsampled),), (("traceparent", TRACEPARENT),)):
                await books.GetBook(GetBookRequest(), metadata=sent)
        assert [span.name for span in spans()] == ["/bookstore.v1.BooksService/GetBook"]
    started, continued, recorded = (traceparent or "" for traceparent in passed_on)
    assert len({started[3:35], continued[3:35]}) == 2
    assert int(started[-2:], 16) & 1 == 0
    assert continued[3:35] == unsampled[3:35]
    assert int(continued[-2:], 16) & 1 == 0
    assert recorded[3:35] == TRACEPARENT[3:35]
    assert int(recorded[-2:], 16) & 1 == 1


async def test_a_call_made_by_an_unrecorded_one_passes_on_its_trace_and_baggage(
    rpc: Servers,
) -> None:
    passed_on: list[list[tuple[str, str]]] = []
    noting = noting_books(lambda: passed_on.append(trace_context.current_headers()))
    unsampled = f"{TRACEPARENT[:-2]}00"
    async for spans in _recording(ServiceSettings(trace_sample_ratio=0)):
        server = await rpc.start(noting)
        stub = await rpc.stub(server.port)
        with trace_context.attached(unsampled, "vendor=1", "tenant=7"):
            await stub.GetBook(GetBookRequest())
        assert spans() == []
    (headers,) = passed_on
    continued = dict(headers)
    assert continued.pop("traceparent")[:36] == unsampled[:36]
    assert continued == {"tracestate": "vendor=1", "baggage": "tenant=7"}


async def test_a_refused_call_marks_its_spans_as_failed(spans: Spans, rpc: Servers) -> None:
    class Empty:
        async def get_book(self, request: GetBookRequest) -> GetBookResponse:
            raise NotFound("no such book")

        async def sell_book(self, request: SellBookRequest) -> SellBookResponse:
            raise NotImplementedError

    server = await rpc.start(Empty)
    stub = await rpc.stub(server.port)
    with pytest.raises(NotFound, match="no such book"):
        await stub.GetBook(GetBookRequest())

    async def both_ended() -> bool:
        return {span.kind for span in spans()} == {SpanKind.CLIENT, SpanKind.SERVER}

    # The caller learns the status before the server's span has ended.
    await eventually(both_ended)
    called = {span.kind: span for span in spans()}
    for span in called.values():
        assert (span.attributes or {})["rpc.grpc.status_code"] == 5
    assert called[SpanKind.CLIENT].status.status_code is StatusCode.ERROR
