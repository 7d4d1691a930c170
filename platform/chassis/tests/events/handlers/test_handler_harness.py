"""Tests of handlers without a broker, as service authors write them."""

import asyncio
from collections.abc import Callable, Iterator, Sequence, Sized

import pytest
from bookshop import journal, metadata, write_down
from sqlalchemy import bindparam, func, insert, select, update
from sqlalchemy.event import listen
from sqlalchemy.exc import IntegrityError

from bookstore.v1 import BookReturned, BookSold
from chassis import (
    EventContext,
    EventRouter,
    Reject,
    Service,
    ServiceSettings,
    Transact,
    Transaction,
)
from chassis.testing import HandlerHarness

pytestmark = pytest.mark.unit


class ShopSettings(ServiceSettings):
    """The settings of a shop."""

    reason: str = "unread"


events = EventRouter()


@events.on(BookSold)
def take_back(book: BookSold, tx: Transaction, event: EventContext, settings: ShopSettings) -> None:
    write_down(tx, event)
    if book.price < 0:
        raise Reject("a price is not negative")
    tx.publish(BookReturned(book_id=book.book_id, reason=settings.reason))


service = Service(
    "bookstore",
    settings=ShopSettings,
    events=[events],
    publishes=[BookReturned],
    tables=metadata,
)


@pytest.fixture
def shop(new_database: Callable[[str], str]) -> Iterator[HandlerHarness]:
    with HandlerHarness.of(service, database_url=new_database("shop")) as harness:
        yield harness


def entries(shop: HandlerHarness) -> int:
    with shop.session() as session:
        return session.execute(select(func.count()).select_from(journal)).scalar_one()


def test_changes_and_published_events_of_a_handler_can_be_inspected(shop: HandlerHarness) -> None:
    shop.handle(BookSold(book_id="b-1", price=1))
    assert shop.published == [BookReturned(book_id="b-1", reason="unread")]
    assert entries(shop) == 1


def test_events_follow_one_another_within_and_across_batches(shop: HandlerHarness) -> None:
    shop.handle(*(BookSold(book_id=f"b-{n % 3}") for n in range(7)))
    shop.handle(BookSold(book_id="b-0"), BookSold(book_id="b-9"))
    assert entries(shop) == len(shop.published) == 9


def test_an_error_of_a_handler_is_raised_and_its_batch_has_no_effect(
    shop: HandlerHarness,
) -> None:
    with pytest.raises(Reject, match="not negative"):
        shop.handle(BookSold(book_id="b-1"), BookSold(book_id="b-2", price=-1))
    assert (entries(shop), shop.published) == (0, [])
    shop.handle(BookSold(book_id="b-1"))
    assert entries(shop) == 1


def test_published_events_name_the_handled_event_as_their_cause(shop: HandlerHarness) -> None:
    (first,) = shop.handle(BookSold(book_id="b-1"))
    ((returned, _),) = shop.outbox()
    assert (returned.causation_id, returned.correlation_id) == (first.id, first.id)
    (second,) = shop.handle(BookSold(book_id="b-2"), cause=returned)
    assert (second.causation_id, second.correlation_id) == (returned.id, first.id)


def test_an_event_without_a_handler_is_named(shop: HandlerHarness) -> None:
    with pytest.raises(LookupError, match=r"bookstore\.v1\.BookReturned"):
        shop.handle(BookReturned(book_id="b-1"))


def test_settings_and_rows_can_be_given_and_jobs_run() -> None:
    with HandlerHarness.of(service, settings=ShopSettings(reason="torn")) as shop:
        with shop.session() as session:
            session.execute(insert(journal).values(book_id="b-0"))
        shop.handle(BookSold(book_id="b-1"))
        assert shop.published == [BookReturned(book_id="b-1", reason="torn")]
        shop.transact(lambda tx: tx.publish(BookReturned(book_id="b-2")))
        assert shop.published[1:] == [BookReturned(book_id="b-2")]
        assert entries(shop) == 2


def test_an_on_batch_handler_gets_the_whole_batch(new_database: Callable[[str], str]) -> None:
    batches: list[list[str]] = []
    router = EventRouter()

    @router.on_batch(BookSold)
    def count(books: Sequence[BookSold], tx: Transaction) -> None:
        batches.append([book.book_id for book in books])

    with HandlerHarness(router, database_url=new_database("shop")) as shop:
        shop.handle(*(BookSold(book_id=f"b-{n}") for n in range(3)))
    assert batches == [["b-0", "b-1", "b-2"]]


_MOVE = update(journal).where(journal.c.book_id == bindparam("book")).values(id=bindparam("to"))


def moving() -> EventRouter:
    router = EventRouter()

    @router.on(BookSold)
    def move(book: BookSold, tx: Transaction) -> None:
        tx.session.execute(_MOVE, {"book": book.book_id, "to": book.price})

    return router


def test_changes_of_a_batch_are_sent_together_as_in_production(
    new_database: Callable[[str], str],
) -> None:
    sent: list[int] = []

    def note(_1: object, _2: object, text: str, values: Sized, _3: object, many: bool) -> None:
        if text.startswith("UPDATE journal"):
            sent.append(len(values) if many else 1)

    with HandlerHarness(moving(), tables=metadata, database_url=new_database("shop")) as shop:
        listen(shop.database.engine, "before_cursor_execute", note)
        shop.handle(*(BookSold(book_id=f"b-{n}") for n in range(2)))
        sent.clear()
        shop.handle(*(BookSold(book_id=f"b-{n}") for n in range(4)))
    assert sent == [4]


def test_a_change_of_a_batch_that_fails_raises_its_own_error(
    new_database: Callable[[str], str],
) -> None:
    with HandlerHarness(moving(), tables=metadata, database_url=new_database("shop")) as shop:
        with shop.session() as session:
            session.execute(insert(journal), [{"id": n, "book_id": f"b-{n}"} for n in range(3)])
        for _ in range(2):
            with pytest.raises(IntegrityError, match="journal"):
                shop.handle(BookSold(book_id="b-0", price=7), BookSold(book_id="b-1", price=2))


def asking() -> EventRouter:
    router = EventRouter()

    @router.on(BookSold)
    async def ask(book: BookSold, event: EventContext, transact: Transact) -> None:
        await asyncio.sleep(0)
        if book.price < 0:
            raise ValueError("no answer")
        await transact(write_down, event)

    return router


def test_an_async_handler_runs_too_in_the_order_of_each_key(
    new_database: Callable[[str], str],
) -> None:
    url = new_database("shop")
    with HandlerHarness(asking(), tables=metadata, database_url=url) as shop:
        shop.handle(*(BookSold(book_id="b-1") for _ in range(3)), BookSold(book_id="b-2"))
        assert entries(shop) == 4
        with pytest.raises(ValueError, match="no answer"):
            shop.handle(BookSold(book_id="b-1", price=-1), BookSold(book_id="b-1"))
        shop.handle(BookSold(book_id="b-1"))
        assert entries(shop) == 5


async def test_an_async_handler_can_run_on_the_loop_of_the_test() -> None:
    loops = []
    router = EventRouter()

    @router.on(BookSold)
    async def ask(book: BookSold) -> None:
        loops.append(asyncio.get_running_loop())

    with HandlerHarness(router) as shop:
        await shop.handle_async(BookSold(book_id="b-1"))
    assert loops == [asyncio.get_running_loop()]
