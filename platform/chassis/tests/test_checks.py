"""A service that cannot keep what it declares refuses to start, and says what to do."""

import re
from typing import Annotated

import pytest
from fastapi import APIRouter, Depends
from google.protobuf.descriptor import ServiceDescriptor
from pydantic import SecretStr

from bookstore.v1 import (
    BookReturned,
    BookSold,
    BooksService,
    BooksServiceAsyncStub,
    BooksServiceStub,
    GetBookRequest,
    GetBookResponse,
    SellBookRequest,
    SellBookResponse,
)
from chassis import EventRouter, ReadTransaction, Service, ServiceSettings, Transaction
from chassis.checks import find_problems, missing_settings
from chassis.events.jobs import bind_job
from chassis.rpc import client
from chassis.rpc.methods import snake

pytestmark = pytest.mark.unit


class Settings(ServiceSettings):
    limit: int = 3


class OtherSettings(ServiceSettings):
    pass


class Books:
    def sell_book(
        self, request: SellBookRequest, tx: Transaction, settings: Settings
    ) -> SellBookResponse:
        raise NotImplementedError

    async def get_book(self, request: GetBookRequest) -> GetBookResponse:
        raise NotImplementedError


class _Complete:
    def sell_book(self, request: SellBookRequest, tx: Transaction) -> SellBookResponse:
        raise NotImplementedError


class Incomplete(_Complete):
    pass


class WrongRequest(_Complete):
    def get_book(self, request: SellBookRequest) -> GetBookResponse:
        raise NotImplementedError


class WrongResponse(_Complete):
    def get_book(self, request: GetBookRequest) -> SellBookResponse:
        raise NotImplementedError


class Unannotated(_Complete):
    def get_book(self, request: GetBookRequest, tx) -> GetBookResponse:  # type: ignore[no-untyped-def]
        raise NotImplementedError


class SettingsOfAnother(_Complete):
    def get_book(self, request: GetBookRequest, settings: OtherSettings) -> GetBookResponse:
        raise NotImplementedError


class TwoTransactions(_Complete):
    def get_book(
        self, request: GetBookRequest, tx: Transaction, read: ReadTransaction
    ) -> GetBookResponse:
        raise NotImplementedError


class AsyncTransaction(_Complete):
    async def get_book(self, request: GetBookRequest, tx: Transaction) -> GetBookResponse:
        raise NotImplementedError


class WritingWhereItReads(_Complete):
    def get_book(self, request: GetBookRequest, tx: Transaction) -> GetBookResponse:
        raise NotImplementedError


class ReadingWhereItMayWrite:
    def sell_book(self, request: SellBookRequest, tx: ReadTransaction) -> SellBookResponse:
        raise NotImplementedError

    def get_book(self, request: GetBookRequest, tx: ReadTransaction) -> GetBookResponse:
        raise NotImplementedError


class OneTooMany(_Complete):
    def get_book(self, request: GetBookRequest) -> GetBookResponse:
        raise NotImplementedError

    def burn_book(self, request: GetBookRequest) -> GetBookResponse:
        raise NotImplementedError


class NeedsArguments(Books):
    def __init__(self, price: int) -> None:
        self.price = price


def service(**parts: object) -> Service:
    return Service("bookstore", settings=Settings, **parts)  # type: ignore[arg-type]


def serving(contract: ServiceDescriptor, implementation: type) -> Service:
    return service(grpc=[(contract, implementation)], publishes=[BookSold])


def test_a_class_with_a_method_for_each_rpc_is_accepted() -> None:
    assert find_problems(serving(BooksService, Books), Settings()) == []


@pytest.mark.parametrize(
    ("implementation", "line"),
    [
        (Incomplete, "has no method get_book for the RPC bookstore.v1.BooksService.GetBook"),
        (WrongRequest, "must take the GetBookRequest of bookstore.v1.BooksService.GetBook once"),
        (WrongResponse, "must return GetBookResponse, not SellBookResponse"),
        (Unannotated, "(tx) has no annotation; it can be GetBookRequest, Transaction"),
        (SettingsOfAnother, "(settings) is annotated OtherSettings; it can be GetBookRequest"),
        (TwoTransactions, "takes one transaction at most"),
        (AsyncTransaction, "an async def takes no transaction"),
        (
            WritingWhereItReads,
            "and bookstore.v1.BooksService.GetBook only reads",
        ),
        (
            WritingWhereItReads,
            "from the method in bookstore/v1/service.proto",
        ),
        (ReadingWhereItMayWrite, "so bookstore.v1.BooksService.SellBook only reads; say so in"),
        (ReadingWhereItMayWrite, "`option idempotency_level = NO_SIDE_EFFECTS;` in the method"),
        (OneTooMany, "burn_book: bookstore.v1.BooksService has no such RPC"),
        (NeedsArguments, "is made without arguments"),
    ],
)
def test_a_class_that_does_not_fit_its_contract_is_refused(implementation: type, line: str) -> None:
    lines = find_problems(serving(BooksService, implementation), Settings())
    assert any(line in found and implementation.__name__ in found for found in lines), lines


def test_a_service_whose_name_differs_from_its_events_package_is_refused() -> None:
    """Its events would go to one stream while its consumers read another."""
    named = Service("book-store", settings=Settings, publishes=[BookSold])
    (line,) = find_problems(named, Settings())
    assert "book-store publishes bookstore.v1.BookSold" in line
    assert "<area>.<service>.<version>; call the service 'bookstore'" in line


def test_a_method_with_a_transaction_in_a_service_without_a_database_is_refused() -> None:
    (line,) = find_problems(service(grpc=[(BooksService, Books)]), Settings())
    assert "Books.sell_book: takes a transaction; give bookstore its tables=" in line


@pytest.mark.parametrize(
    ("rpc", "name"),
    [("GetBook", "get_book"), ("GetISBNList", "get_isbn_list"), ("PlaceV2Order", "place_v2_order")],
)
def test_a_method_is_named_as_its_rpc_in_snake_case(rpc: str, name: str) -> None:
    assert snake(rpc) == name


def test_two_handlers_of_one_event_type_are_refused() -> None:
    first, second = EventRouter(), EventRouter()

    @first.on(BookSold)
    def ship(event: BookSold, tx: Transaction) -> None: ...

    @second.on(BookSold)
    def count(event: BookSold, tx: Transaction) -> None: ...

    (line,) = find_problems(service(events=[first, second]), Settings())
    assert "ship" in line
    assert "count" in line
    assert "one handler per event type" in line


def test_each_fault_of_each_handler_has_a_line() -> None:
    router = EventRouter()

    @router.on(BookSold)
    def ship(event: BookSold, when: int, to) -> None: ...  # type: ignore[no-untyped-def]

    @router.on(BookReturned)
    def restock(event: "Missing", tx: Transaction) -> None: ...  # type: ignore[name-defined] # noqa: F821

    when, to, missing = find_problems(service(events=[router]), Settings())
    assert "ship(when) is annotated int; it can be BookSold, Transaction, EventContext or" in when
    assert "ship(to) has no annotation; it can be" in to
    assert "restock: cannot read its annotations, name 'Missing' is not defined" in missing


def test_publishing_a_message_without_a_partition_key_is_refused() -> None:
    (line,) = find_problems(service(publishes=[GetBookRequest]), Settings())
    assert "bookstore.v1.GetBookRequest" in line


def test_a_route_with_an_undeclared_call_is_refused() -> None:
    router = APIRouter()
    books = Depends(client(BooksService, BooksServiceStub))

    @router.get("/books")
    async def books_of_the_day(stub: Annotated[BooksServiceAsyncStub, books]) -> None: ...

    (line,) = find_problems(service(http=[router]), Settings())
    assert re.search(r"/books.*bookstore\.v1\.BooksService.*calls=", line)
    assert find_problems(service(http=[router], calls=[BooksService]), Settings()) == []


def test_a_called_service_without_a_target_is_a_missing_setting() -> None:
    calling = service(calls=[BooksService])
    (line,) = missing_settings(calling, Settings())
    assert line.startswith("APP_TARGETS: has no target for bookstore")
    assert missing_settings(calling, Settings(targets={"bookstore": "ipv4:127.0.0.1:1"})) == []


def test_a_service_that_keeps_anything_needs_a_database() -> None:
    (line,) = missing_settings(service(publishes=[BookSold]), Settings())
    assert line.startswith("APP_DATABASE_URL: is missing")
    assert missing_settings(service(grpc=[(BooksService, Books)]), Settings()) == []


@pytest.mark.parametrize(
    ("url", "accepted"),
    [
        ("sqlite:///books.db", True),
        ("postgresql+psycopg://books:s3cret@db/books", True),
        ("postgresql://books:s3cret@db/books", True),
        ("sqlite://", False),
        ("mysql://books:s3cret@db/books", False),
        ("postgresql+asyncpg://books:s3cret@db/books", False),
        ("s3cret", False),
    ],
)
def test_a_database_that_cannot_be_used_is_a_wrong_setting(url: str, accepted: bool) -> None:
    lines = missing_settings(service(publishes=[BookSold]), Settings(database_url=SecretStr(url)))
    assert [line.split(":")[0] for line in lines] == ([] if accepted else ["APP_DATABASE_URL"])
    assert "s3cret" not in str(lines)


def test_a_job_with_a_parameter_that_cannot_be_filled_is_refused() -> None:
    shop = service()

    @shop.every(seconds=1)
    def expire(tx: Transaction, when: int) -> None: ...

    @shop.every(seconds=1)
    async def wait(tx: Transaction) -> None: ...

    first, second = find_problems(shop, Settings())
    assert "expire(when)" in first
    assert "wait: a job is a def" in second


def test_a_job_gets_its_transaction_and_settings_and_may_take_its_interval_from_them() -> None:
    shop = service()
    seen = []

    @shop.every(seconds=lambda settings: settings.limit * 2)
    def expire(tx: Transaction, settings: Settings) -> None:
        seen.append((tx, settings.limit))

    assert find_problems(shop, Settings()) == []
    job = bind_job(shop.jobs[0], Settings())
    transaction = object()
    job.work(transaction)  # type: ignore[arg-type]
    assert (job.seconds, seen) == (6, [(transaction, 3)])
