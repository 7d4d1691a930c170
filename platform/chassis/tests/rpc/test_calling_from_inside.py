"""Calls of a declared service by async event handlers, async RPC methods and routes."""

from collections.abc import Iterator, Sequence

import pytest
from books_rpc import Books, Clock, Front, Servers
from bookshop import TestSettings, eventually, metadata, write_down
from task_store import TaskStore

from bookstore.v1 import (
    Book,
    BookSold,
    BooksService,
    GetBookRequest,
    GetBookResponse,
)
from chassis import EventContext, EventRouter, Service, ServiceSettings, Transact
from chassis.checks import find_problems
from chassis.database import Database
from chassis.parameters import DeclarationError
from chassis.testing import HandlerHarness


def asking(answers: list[float] | None = None) -> EventRouter:
    router = EventRouter()

    @router.on(BookSold)
    async def look_up(
        sold: BookSold, books: Books, event: EventContext, transact: Transact
    ) -> None:
        answer = await books.GetBook(GetBookRequest(book_id=sold.book_id))
        if answers is not None:
            answers.append(float(answer.book.title))
        await transact(write_down, event)

    return router


@pytest.fixture
def task_store(database: Database) -> Iterator[TaskStore]:
    task_store = TaskStore(database.url)
    yield task_store
    task_store.close()


async def test_an_async_handler_calls_a_service_with_a_deadline(
    rpc: Servers, task_store: TaskStore
) -> None:
    clients = await rpc.clients((await rpc.start(Clock)).port, call_timeout_seconds=7)
    answers: list[float] = []
    (event,) = await task_store.add(BookSold(book_id="b"))
    async with task_store.member("m", asking(answers), stub_of=clients.stub):
        await eventually(task_store.is_empty)
    assert await task_store.written() == [event.id]
    (seconds,) = answers
    assert 0 < seconds <= 7


async def test_an_unavailable_called_service_delays_an_event_without_using_up_tries(
    rpc: Servers, task_store: TaskStore
) -> None:
    server = await rpc.start(Clock)
    clients = await rpc.clients(server.port)
    await server.stop(0)
    (event,) = await task_store.add(BookSold(book_id="b"))
    settings = TestSettings(task_tries=1)
    async with task_store.member("m", asking(), settings, stub_of=clients.stub):

        async def asked_twice() -> bool:
            (task,) = await task_store.rows()
            return task.attempt >= 2 and bool(task.reason)

        await eventually(asked_twice)
        (task,) = await task_store.rows()
        assert (task.tries, task.reason) == (0, "Unavailable: bookstore is unavailable")
        await rpc.start(Clock, port=server.port)
        await eventually(task_store.is_empty)
    assert await task_store.written() == [event.id]
    assert await task_store.dead() == []


async def test_an_async_method_calls_a_service_within_its_callers_deadline(
    rpc: Servers,
) -> None:
    clients = await rpc.clients((await rpc.start(Clock)).port, call_timeout_seconds=30)
    front = await rpc.start(Front, stub_of=clients.stub)
    stub = await rpc.stub(front.port, call_timeout_seconds=5)
    answer = await stub.GetBook(GetBookRequest())
    # gRPC rounds the remaining time up, to a hundredth and more.
    assert 0 < float(answer.book.title) < 10


class DefMethod(Clock):
    def get_book(self, request: GetBookRequest, books: Books) -> GetBookResponse:  # type: ignore[override]
        raise NotImplementedError


def service(**parts: object) -> Service:
    return Service("front", settings=ServiceSettings, **parts)  # type: ignore[arg-type]


def test_an_undeclared_call_is_refused_in_handlers_and_methods() -> None:
    parts = {"events": [asking()], "grpc": [(BooksService, Front)]}
    in_handler, in_method = find_problems(service(**parts), ServiceSettings())
    line = "calls bookstore.v1.BooksService; add it to calls=[...] of front"
    assert in_handler.endswith(f"look_up(books): {line}")
    assert in_method.endswith(f"Front.get_book(books): {line}")
    assert find_problems(service(**parts, calls=[BooksService]), ServiceSettings()) == []


def test_a_def_that_calls_a_service_is_refused() -> None:
    def one(sold: BookSold, books: Books) -> None: ...
    def many(sold: Sequence[BookSold], books: Books) -> None: ...

    for form, handler in (("on", one), ("on_batch", many)):
        router = EventRouter()
        getattr(router, form)(BookSold)(handler)
        (line,) = find_problems(service(events=[router], calls=[BooksService]), ServiceSettings())
        assert "(books): a def calls no service" in line
        assert line.endswith("make it an async def")
    parts = {"grpc": [(BooksService, DefMethod)], "calls": [BooksService]}
    (line,) = find_problems(service(**parts), ServiceSettings())
    assert "DefMethod.get_book(books): a def calls no service" in line
    assert line.endswith("make it an async def")


class MadeUp:
    """A stub that a test makes up."""

    async def GetBook(self, request: GetBookRequest) -> GetBookResponse:
        return GetBookResponse(book=Book(title="3"))


def test_a_test_of_handlers_provides_their_stubs() -> None:
    answers: list[float] = []
    front = service(events=[asking(answers)], calls=[BooksService], tables=metadata)
    with HandlerHarness.of(front, stubs={BooksService: MadeUp()}) as harness:
        harness.handle(BookSold(book_id="b"))
    assert answers == [3]
    with pytest.raises(DeclarationError, match=r"look_up\(books\): calls bookstore.*stubs="):
        HandlerHarness.of(front)


def test_a_stub_in_a_test_does_not_replace_the_declaration() -> None:
    front = service(events=[asking([])], tables=metadata)
    with pytest.raises(DeclarationError, match=r"BooksService; add it to calls=\[...\] of front"):
        HandlerHarness.of(front, stubs={BooksService: MadeUp()})
