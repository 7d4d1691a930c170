"""Headers, baggage and the trace of a request, which its calls pass on from hop to hop."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import httpx
import pytest
import pytest_asyncio
from books_rpc import Books, Context, Front, Servers, bare_server
from bookshop import Node
from fastapi import APIRouter
from http_app import serving
from opentelemetry import baggage
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from pydantic import ValidationError
from structlog.testing import capture_logs

from bookstore.v1 import (
    BookSold,
    GetBookRequest,
    GetBookResponse,
)
from chassis import EventRouter, ServiceSettings, Transaction, forwarding
from chassis.http.app import create_app
from chassis.readiness import Readiness
from chassis.telemetry import trace_context, tracing
from localservers import NatsServer

TRACE_ID = "0af7651916cd43dd8448eb211c80319c"
TRACEPARENT = f"00-{TRACE_ID}-b7ad6b7169203331-01"
router = APIRouter()


@router.get("/book")
async def book(books: Books) -> str:
    await books.GetBook(GetBookRequest())
    return "found"


class Last:
    """The last service of the chain, which records the metadata of calls."""

    def __init__(self) -> None:
        self.metadata: list[tuple[str, str | bytes]] = []

    async def get_book(self, request: GetBookRequest, context: Context) -> GetBookResponse:
        self.metadata = list(context.invocation_metadata() or ())
        return GetBookResponse()

    def of(self, name: str) -> list[str | bytes]:
        return [value for key, value in self.metadata if key == name]


@asynccontextmanager
async def chain(
    rpc: Servers, settings: ServiceSettings | None = None
) -> AsyncIterator[tuple[httpx.AsyncClient, Last]]:
    """Yield a client of an HTTP service that calls a gRPC service, which calls the last one."""
    settings = settings or ServiceSettings(http_port=0, grpc_port=0)
    last = Last()
    async with bare_server(last.get_book) as port:
        behind = await rpc.clients(port)
        between = await rpc.start(Front, settings=settings, stub_of=behind.stub)
        clients = await rpc.clients(between.port)
        app = create_app("gateway", [router], settings, Readiness(), clients)
        async with (
            serving(app, settings) as server,
            httpx.AsyncClient(base_url=f"http://127.0.0.1:{server.port}") as http,
        ):
            yield http, last


@pytest_asyncio.fixture(params=["nothing is recorded", "spans are recorded"])
async def telemetry(request: pytest.FixtureRequest) -> AsyncIterator[None]:
    if request.param == "nothing is recorded":
        yield
        return
    tracing.configure("bookshop", ServiceSettings(), InMemorySpanExporter())
    yield
    await tracing.shutdown(5)


@pytest.mark.usefixtures("telemetry")
async def test_user_baggage_and_trace_of_a_request_reach_the_last_service(rpc: Servers) -> None:
    headers = {"End-User": "jason", "baggage": "cohort=b,plan=pro", "traceparent": TRACEPARENT}
    async with chain(rpc) as (http, last):
        assert (await http.get("/book", headers=headers)).status_code == 200
    assert last.of("end-user") == ["jason"]
    assert last.of("baggage") == ["cohort=b,plan=pro"]
    (traceparent,) = last.of("traceparent")
    assert str(traceparent).split("-")[1] == TRACE_ID


@pytest.mark.usefixtures("telemetry")
async def test_credentials_cookies_and_other_headers_are_not_passed_on(
    rpc: Servers,
) -> None:
    headers = {"authorization": "Bearer x", "cookie": "a=b", "x-tenant": "7"}
    async with chain(rpc) as (http, last):
        await http.get("/book", headers=headers)
    assert not {"authorization", "cookie", "x-tenant", "end-user", "baggage"} & {
        name for name, _ in last.metadata
    }


async def test_headers_of_a_request_do_not_reach_the_next_one_of_its_connection(
    rpc: Servers,
) -> None:
    async with chain(rpc) as (http, last):
        await http.get("/book", headers={"end-user": "jason", "baggage": "cohort=b"})
        assert last.of("end-user") == ["jason"]
        await http.get("/book")
    assert last.of("end-user") == last.of("baggage") == []


async def test_the_names_of_headers_are_a_setting(rpc: Servers) -> None:
    settings = ServiceSettings(http_port=0, grpc_port=0, forward_headers=["X-Tenant", "x-flag"])
    headers = [("x-flag", "1"), ("x-tenant", "7"), ("x-flag", "2"), ("end-user", "jason")]
    async with chain(rpc, settings) as (http, last):
        await http.get("/book", headers=headers)
    assert last.of("x-tenant") == ["7"]
    assert last.of("x-flag") == ["1", "2"]
    assert last.of("end-user") == []


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("baggage", "is always forwarded"),
        ("host", "belongs to a single message"),
        ("grpc-timeout", "or to gRPC itself"),
        ("token-bin", "or to gRPC itself"),
        ("a b", "not a valid name of gRPC metadata"),
    ],
)
def test_a_name_that_cannot_be_forwarded_is_refused(name: str, reason: str) -> None:
    with pytest.raises(ValidationError, match=reason):
        ServiceSettings(forward_headers=[name])


async def test_a_header_above_the_limit_is_left_out_and_the_request_answered(rpc: Servers) -> None:
    settings = ServiceSettings(
        http_port=0, grpc_port=0, forward_headers=["a", "b"], forward_max_bytes=20
    )
    headers = [("a", "x" * 100), ("b", "1" * 18), ("a", "2")]
    async with chain(rpc, settings) as (http, last):
        with capture_logs() as lines:
            assert (await http.get("/book", headers=headers)).status_code == 200
    assert last.of("a") == []
    assert last.of("b") == ["1" * 18]
    told = [line for line in lines if line["event"].startswith("header not forwarded")]
    assert [(line["header"], line["bytes"]) for line in told] == [("a", 101)], "not one for each"


async def test_a_value_that_grpc_cannot_carry_is_left_out(rpc: Servers) -> None:
    async with chain(rpc) as (http, last):
        answer = await http.get("/book", headers=[(b"end-user", "josé".encode())])
    assert answer.status_code == 200
    assert last.of("end-user") == []


async def test_large_baggage_does_not_break_a_request(rpc: Servers) -> None:
    async with chain(rpc) as (http, last):
        answer = await http.get("/book", headers={"baggage": f"a={'x' * 20_000}"})
    assert answer.status_code == 200
    assert last.of("baggage") == []


async def test_metadata_of_a_call_is_not_replaced(rpc: Servers) -> None:
    last = Last()
    async with bare_server(last.get_book) as port:
        stub = await rpc.stub(port)
        forwarding.begin((("end-user", "jason"),))
        await stub.GetBook(GetBookRequest(), metadata=[("end-user", "anna")])
    forwarding.begin(())
    assert last.of("end-user") == ["anna"]


async def test_an_event_passes_on_neither_headers_nor_baggage(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    """An event may be handled later and by any version, so its request's routing does not apply."""
    seen = []
    events = EventRouter()

    @events.on(BookSold)
    def sold(book: BookSold, tx: Transaction) -> None:
        seen.append(
            (forwarding.current(), dict(baggage.get_all()), trace_context.current_traceparent())
        )

    node = Node("bookstore", new_database("shop"), nats.url, router=events, publishes=[BookSold])
    async with node:
        forwarding.begin((("end-user", "jason"),))
        with trace_context.attached(TRACEPARENT, baggage="cohort=b"):
            await node.publish(BookSold(book_id="7", customer_id="me"))
        forwarding.begin(())
        await node.settled()
    assert seen == [((), {}, TRACEPARENT)]
