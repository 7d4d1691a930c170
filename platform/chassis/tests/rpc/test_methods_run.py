"""Methods of RPCs: their threads, transactions, context, deadlines and failures."""

import asyncio
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from uuid import uuid4

import grpc
import grpc.aio
import pytest
import structlog
from books_rpc import Servers, raw_channel
from prometheus_client import REGISTRY
from sqlalchemy import text
from structlog.testing import capture_logs

from bookstore.v1 import (
    Book,
    BookSold,
    BooksServiceAsyncStub,
    BooksServiceStub,
    GetBookRequest,
    GetBookResponse,
    SellBookRequest,
    SellBookResponse,
)
from chassis import (
    DomainError,
    NotFound,
    ReadTransaction,
    ServiceSettings,
    Transaction,
    Unavailable,
    deadline,
)
from chassis.database import Database
from chassis.telemetry import trace_context
from localservers import PostgresServer

NewDatabase = Callable[[str], str]
StandingStill = tuple[str, Callable[[], AbstractContextManager[None]]]
TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def answer(text: str) -> GetBookResponse:
    return GetBookResponse(book=Book(title=text))


class Observant:
    """A bookstore that answers with its thread and trace."""

    def sell_book(self, request: SellBookRequest, tx: Transaction) -> SellBookResponse:
        title = f"{threading.current_thread().name} {trace_context.current_traceparent()}"
        return SellBookResponse(book=Book(title=title))

    def get_book(self, request: GetBookRequest, tx: ReadTransaction) -> GetBookResponse:
        return answer(f"{threading.current_thread().name} {trace_context.current_traceparent()}")


class Plain:
    def sell_book(self, request: SellBookRequest) -> SellBookResponse:
        title = f"{threading.current_thread().name} {trace_context.current_traceparent()}"
        return SellBookResponse(book=Book(title=title))

    async def get_book(self, request: GetBookRequest) -> GetBookResponse:
        return answer(f"{threading.current_thread().name} {trace_context.current_traceparent()}")


async def test_methods_with_a_transaction_run_on_its_threads_within_their_callers_trace(
    rpc: Servers, database: Database
) -> None:
    server = await rpc.start(Observant, database=database)
    stub = await rpc.stub(server.port)
    with trace_context.attached(TRACEPARENT):
        sold = await stub.SellBook(SellBookRequest())
        got = await stub.GetBook(GetBookRequest())
    thread, traceparent = sold.book.title.split()
    assert (thread.split("_")[0], traceparent) == ("transaction", TRACEPARENT)
    thread, traceparent = got.book.title.split()
    assert (thread.split("_")[0], traceparent) == ("read", TRACEPARENT)


async def test_a_def_without_a_transaction_runs_on_a_thread_and_an_async_def_on_the_loop(
    rpc: Servers,
) -> None:
    server = await rpc.start(Plain)
    stub = await rpc.stub(server.port)
    with trace_context.attached(TRACEPARENT):
        sold = await stub.SellBook(SellBookRequest())
        got = await stub.GetBook(GetBookRequest())
    thread, traceparent = sold.book.title.split()
    assert (thread.split("_")[0], traceparent) == ("rpc", TRACEPARENT)
    assert got.book.title == f"{threading.current_thread().name} {TRACEPARENT}"


class Seller:
    def sell_book(self, request: SellBookRequest, tx: Transaction) -> SellBookResponse:
        tx.session.execute(
            text("INSERT INTO sales (book_id) VALUES (:book)"), {"book": request.book_id}
        )
        tx.publish(BookSold(book_id=request.book_id))
        if request.customer_id == "nobody":
            raise NotFound("no such customer", field="customer_id")
        return SellBookResponse()

    def get_book(self, request: GetBookRequest, tx: ReadTransaction) -> GetBookResponse:
        sold = tx.session.scalar(text("SELECT count(*) FROM sales"))
        events = tx.session.scalar(text("SELECT count(*) FROM slipway_outbox"))
        return answer(f"{sold} sold, {events} events")


async def test_a_refused_call_changes_and_publishes_nothing(
    rpc: Servers, database: Database
) -> None:
    await database.transaction(
        lambda tx: tx.session.execute(text("CREATE TABLE sales (book_id VARCHAR(9))"))
    )
    server = await rpc.start(Seller, database=database)
    stub = await rpc.stub(server.port)
    await stub.SellBook(SellBookRequest(book_id="1"))
    with pytest.raises(NotFound):
        await stub.SellBook(SellBookRequest(book_id="2", customer_id="nobody"))
    assert (await stub.GetBook(GetBookRequest())).book.title == "1 sold, 1 events"


class Slow:
    """A bookstore whose first call occupies the only writing thread until `release` is set."""

    holding = threading.Event()
    release = threading.Event()
    began: list[str]

    def sell_book(self, request: SellBookRequest, tx: Transaction) -> SellBookResponse:
        Slow.began.append(request.book_id)
        if request.book_id == "first":
            Slow.holding.set()
            assert Slow.release.wait(60)
        return SellBookResponse()

    def get_book(self, request: GetBookRequest, tx: ReadTransaction) -> GetBookResponse:
        raise NotImplementedError


@pytest.fixture(autouse=True)
def _reset() -> None:
    Slow.began = []
    Slow.holding.clear()
    Slow.release.clear()


@pytest.mark.parametrize("leaves", ["by its deadline", "by cancelling"])
async def test_a_method_is_not_started_after_its_caller_gave_up(
    rpc: Servers, new_database: NewDatabase, monkeypatch: pytest.MonkeyPatch, leaves: str
) -> None:
    database = rpc.database(new_database("slow"), threads=1)
    transaction, begun = database.transaction, []

    async def counted(work: Callable[[Transaction], SellBookResponse]) -> SellBookResponse:
        begun.append(work)
        return await transaction(work)

    monkeypatch.setattr(database, "transaction", counted)
    server = await rpc.start(Slow, database=database)
    async with raw_channel(server.port) as channel:
        stub: BooksServiceAsyncStub = BooksServiceStub(channel)
        first = asyncio.create_task(_sold(stub, "first"))
        assert await asyncio.to_thread(Slow.holding.wait, 60)
        gone = given_up()
        timeout = 3 if leaves == "by its deadline" else None
        late = stub.SellBook(SellBookRequest(book_id="late"), timeout=timeout)
        await until(lambda: len(begun) == 2)
        if leaves == "by cancelling":
            late.cancel()
        with pytest.raises((grpc.aio.AioRpcError, asyncio.CancelledError)):
            await late
        await until(lambda: given_up() == gone + 1)
        Slow.release.set()
        await first
        await _sold(stub, "last")
    assert Slow.began == ["first", "last"]


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.twin)])
def stalled(request: pytest.FixtureRequest, tmp_path: Path) -> StandingStill:
    """The URL of a database, and a function that makes transactions wait before they begin."""
    if request.param == "sqlite":

        @contextmanager
        def locked() -> Iterator[None]:
            with closing(sqlite3.connect(tmp_path / "books.db", isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                yield

        return f"sqlite:///{tmp_path}/books.db", locked

    server: PostgresServer = request.getfixturevalue("postgres")

    @contextmanager
    def paused() -> Iterator[None]:
        server.pause()
        try:
            yield
        finally:
            server.resume()

    return server.create_database(f"books_{uuid4().hex[:8]}"), paused


async def test_a_method_whose_deadline_passed_while_it_waited_for_the_database_is_not_started(
    rpc: Servers, stalled: StandingStill
) -> None:
    url, stand_still = stalled
    database = rpc.database(url, threads=1)
    await database.check()
    server = await rpc.start(Slow, database=database)
    async with raw_channel(server.port) as channel:
        stub: BooksServiceAsyncStub = BooksServiceStub(channel)
        gone = given_up()
        with stand_still():
            with pytest.raises(grpc.aio.AioRpcError) as refusal:
                await stub.SellBook(SellBookRequest(book_id="late"), timeout=2)
            assert refusal.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            await until(lambda: given_up() == gone + 1)
        await _sold(stub, "last")
    assert Slow.began == ["last"]


def given_up() -> float:
    """Return the number of calls whose callers gave up, as the server has counted them."""
    method = "bookstore.v1.BooksService/SellBook"
    return sum(
        REGISTRY.get_sample_value("grpc_server_handled_total", {"method": method, "code": code})
        or 0
        for code in ("CANCELLED", "DEADLINE_EXCEEDED")
    )


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(60):
        while not holds():
            await asyncio.sleep(0.01)


async def _sold(stub: BooksServiceAsyncStub, book_id: str) -> SellBookResponse:
    return await stub.SellBook(SellBookRequest(book_id=book_id))


class Leaking:
    def sell_book(self, request: SellBookRequest) -> SellBookResponse:
        raise ConnectionError("s3cret host is down")

    async def get_book(self, request: GetBookRequest) -> GetBookResponse:
        raise KeyError("s3cret")


async def test_an_unknown_error_is_internal_without_its_text_and_is_logged(rpc: Servers) -> None:
    server = await rpc.start(Leaking)
    async with raw_channel(server.port) as channel:
        stub: BooksServiceAsyncStub = BooksServiceStub(channel)
        with capture_logs() as lines:
            with pytest.raises(grpc.aio.AioRpcError) as on_a_thread:
                await stub.SellBook(SellBookRequest())
            with pytest.raises(grpc.aio.AioRpcError) as on_the_loop:
                await stub.GetBook(GetBookRequest())
    for refusal in (on_a_thread.value, on_the_loop.value):
        assert refusal.code() is grpc.StatusCode.INTERNAL
        assert refusal.details() == "internal error"
        assert "s3cret" not in str(refusal)
    assert [line["method"] for line in lines if line["log_level"] == "error"] == [
        "bookstore.v1.BooksService/SellBook",
        "bookstore.v1.BooksService/GetBook",
    ]


@pytest.mark.usefixtures("own_logging")
async def test_the_log_of_an_unknown_error_names_its_trace(rpc: Servers) -> None:
    server = await rpc.start(Leaking)
    stub = await rpc.stub(server.port)
    traces = []

    def note(_: object, __: str, line: structlog.typing.EventDict) -> structlog.typing.EventDict:
        traces.append((line["event"], trace_context.current_traceparent()))
        raise structlog.DropEvent

    structlog.configure(processors=[note])
    with trace_context.attached(TRACEPARENT), pytest.raises(grpc.aio.AioRpcError):
        await stub.GetBook(GetBookRequest())
    assert traces == [("RPC handler failed; answering with INTERNAL", TRACEPARENT)]


class Patient:
    async def sell_book(self, request: SellBookRequest) -> SellBookResponse:
        raise NotImplementedError

    def get_book(self, request: GetBookRequest, settings: ServiceSettings) -> GetBookResponse:
        left = deadline.remaining()
        return answer(f"{left} {settings.version}")


async def test_a_method_knows_how_much_time_is_left_and_its_settings(rpc: Servers) -> None:
    server = await rpc.start(Patient, settings=ServiceSettings(grpc_port=0, version="7"))
    async with raw_channel(server.port) as channel:
        stub: BooksServiceAsyncStub = BooksServiceStub(channel)
        limited = await stub.GetBook(GetBookRequest(), timeout=300)
        unlimited = await stub.GetBook(GetBookRequest())
    left, version = limited.book.title.split()
    assert 200 < float(left) < 400
    assert version == "7"
    assert unlimited.book.title == "None 7"


class Finder:
    def sell_book(self, request: SellBookRequest, tx: Transaction) -> SellBookResponse:
        raise NotImplementedError

    def get_book(self, request: GetBookRequest, tx: ReadTransaction) -> GetBookResponse:
        tx.session.execute(text("SELECT 1"))
        return GetBookResponse()


async def test_without_its_database_a_call_is_unavailable_with_a_retry_delay(
    rpc: Servers, own_postgres: PostgresServer
) -> None:
    server = await rpc.start(Finder, database=rpc.database(own_postgres.url()))
    stub = await rpc.stub(server.port)
    await stub.GetBook(GetBookRequest())
    own_postgres.kill()
    for _ in range(3):
        with pytest.raises(Unavailable) as refusal:
            await stub.GetBook(GetBookRequest())
        assert refusal.value.detail == "the database is unavailable"
        assert refusal.value.retry_after == 1
    own_postgres.start()
    await stub.GetBook(GetBookRequest())


async def test_a_missing_table_makes_a_call_unavailable_without_internal_details(
    rpc: Servers, database: Database
) -> None:
    class Early:
        def sell_book(self, request: SellBookRequest, tx: Transaction) -> SellBookResponse:
            tx.session.execute(text("INSERT INTO shelf VALUES (1)"))
            return SellBookResponse()

        def get_book(self, request: GetBookRequest, tx: ReadTransaction) -> GetBookResponse:
            tx.session.execute(text("SELECT place FROM shelf"))
            return GetBookResponse()

    server = await rpc.start(Early, database=database)
    stub = await rpc.stub(server.port)
    for call in (stub.GetBook(GetBookRequest()), stub.SellBook(SellBookRequest())):
        with pytest.raises(Unavailable) as refusal:
            await call
        assert refusal.value.detail == "the database cannot do this now"
        assert refusal.value.retry_after == 5


async def test_a_services_subclasses_of_domain_errors_keep_their_kind(rpc: Servers) -> None:
    class OutOfPrint(NotFound):
        """A kind only this service knows."""

    class Shop:
        async def sell_book(self, request: SellBookRequest) -> SellBookResponse:
            raise DomainError("sold out")

        async def get_book(self, request: GetBookRequest) -> GetBookResponse:
            raise OutOfPrint("since 1984")

    server = await rpc.start(Shop)
    stub = await rpc.stub(server.port)
    with pytest.raises(NotFound, match="since 1984"):
        await stub.GetBook(GetBookRequest())
    with pytest.raises(DomainError, match="sold out"):
        await stub.SellBook(SellBookRequest())
