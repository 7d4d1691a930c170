"""A service whose handlers cannot be called says so in one line before it starts."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest
from bookshop import TestSettings

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transact, Transaction
from chassis.events.handlers.binding import bind_all
from chassis.parameters import DeclarationError

pytestmark = pytest.mark.unit


class OtherSettings(TestSettings):
    """Settings of another service."""


def no_message(tx: Transaction) -> None: ...
def other_message(book: BookReturned, tx: Transaction) -> None: ...
def unannotated(book: BookSold, tx) -> None: ...  # type: ignore[no-untyped-def]
def wrong(book: BookSold, count: int) -> None: ...
def optional(book: BookSold | None) -> None: ...
def others_settings(book: BookSold, settings: OtherSettings) -> None: ...
def variadic(book: BookSold, *rest: object) -> None: ...
def transact_in_def(book: BookSold, transact: Transact) -> None: ...
async def transaction_in_async(book: BookSold, tx: Transaction) -> None: ...


def one(book: BookSold) -> None: ...
def bare(books: Sequence) -> None: ...  # type: ignore[type-arg]
def empty(books: tuple[()]) -> None: ...
def pairs(books: dict[BookSold, int]) -> None: ...
def others(books: Sequence[BookReturned]) -> None: ...
def single_event(books: Sequence[BookSold], event: EventContext) -> None: ...


async def with_transaction(book: BookSold, tx: Transaction) -> None: ...


WRONG: list[tuple[str, Callable[..., Any], str]] = [
    ("on", no_message, "no_message: no parameter takes the bookstore.v1.BookSold"),
    ("on", other_message, "other_message(book) is annotated"),
    ("on", unannotated, "unannotated(tx) has no annotation; it can be BookSold, Transaction,"),
    ("on", wrong, "wrong(count) is annotated int; it can be BookSold, Transaction,"),
    ("on", optional, "optional(book) is annotated"),
    ("on", others_settings, "others_settings(settings) is annotated"),
    ("on", variadic, "variadic(rest) is annotated"),
    ("on", transact_in_def, "transact_in_def(transact) is annotated"),
    (
        "on",
        transaction_in_async,
        "it can be BookSold, EventContext, Transact, TestSettings or",
    ),
    ("on_batch", one, "it can be Sequence[BookSold], Transaction, Sequence[EventContext] or"),
    ("on_batch", bare, "bare(books) is annotated"),
    ("on_batch", empty, "empty(books) is annotated"),
    ("on_batch", pairs, "pairs(books) is annotated"),
    ("on_batch", others, "others(books) is annotated"),
    ("on_batch", single_event, "single_event(event) is annotated"),
    ("broadcast", with_transaction, "it can be BookSold, EventContext, TestSettings or a stub as"),
]


@pytest.mark.parametrize(
    ("form", "handler", "line"), WRONG, ids=[f"{form} {h.__name__}" for form, h, _ in WRONG]
)
def test_a_handler_that_cannot_be_called_is_refused_with_what_it_may_take(
    form: str, handler: Callable[..., Any], line: str
) -> None:
    router = EventRouter()
    getattr(router, form)(BookSold)(handler)
    with pytest.raises(DeclarationError) as refused:
        bind_all([router], TestSettings())
    assert line in str(refused.value)
    assert f"{__name__}.{handler.__name__}" in str(refused.value)
    assert "\n" not in str(refused.value)


def test_two_handlers_of_a_type_are_refused_by_their_names() -> None:
    first, second = EventRouter(), EventRouter()
    first.on(BookSold)(one)
    second.on_batch(BookSold)(batch)
    with pytest.raises(DeclarationError) as refused:
        bind_all([first, second], TestSettings())
    assert str(refused.value).endswith(
        "both handle bookstore.v1.BookSold: a service has one handler per event type"
    )
    assert f"{__name__}.one" in str(refused.value)
    assert f"{__name__}.batch" in str(refused.value)


def batch(books: Sequence[BookSold]) -> None: ...


async def hear(book: BookSold) -> None: ...


def test_a_handler_and_broadcasts_of_one_type_go_together() -> None:
    router = EventRouter()
    router.on(BookSold)(one)
    router.broadcast(BookSold)(hear)
    router.broadcast(BookSold)(hear)
    handlers, broadcasts = bind_all([router], TestSettings())
    assert list(handlers) == ["bookstore.v1.BookSold"]
    assert len(broadcasts["bookstore.v1.BookSold"]) == 2


def test_forms_that_do_not_fit_are_refused_where_they_are_written() -> None:
    router = EventRouter()
    with pytest.raises(TypeError, match="hear: an on_batch handler is a plain def"):
        router.on_batch(BookSold)(hear)
    with pytest.raises(TypeError, match="one: a broadcast handler is an async def"):
        router.broadcast(BookSold)(one)


def test_a_broadcast_handler_names_at_least_one_type() -> None:
    broadcast: Any = EventRouter().broadcast
    with pytest.raises(TypeError, match="message"):
        broadcast()


def test_each_parameter_is_filled_by_its_annotation_in_any_order() -> None:
    seen: list[object] = []
    router = EventRouter()

    @router.on_batch(BookSold)
    def handle(
        settings: TestSettings, events: list[EventContext], tx: Transaction, books: list[BookSold]
    ) -> None:
        seen.extend([settings, events, tx, books])

    settings = TestSettings()
    handlers, _ = bind_all([router], settings)
    handlers["bookstore.v1.BookSold"](["a book"], ["an event"], tx="a transaction")
    assert seen == [settings, ["an event"], "a transaction", ["a book"]]
