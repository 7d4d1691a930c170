"""Events of producers outside the platform are handled once, by source and id, in stream order."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from bookshop import Node, TestSettings, eventually, write_down
from foreigner import Foreigner
from owners import ignore_marks, isolate
from reading import has_taken, taken_ids
from shell import Shell
from sqlalchemy import event, func, select, update
from structlog.testing import capture_logs

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Reject, Transaction
from chassis.database import tables
from chassis.events.consumer import foreign_reader, foreign_rows
from chassis.events.consumer.lag import LagUnknown
from chassis.events.consumer.position import Position, PositionMoved
from chassis.events.handlers import pauses
from chassis.events.handlers.binding import bind_all
from chassis.parameters import DeclarationError
from chassis.testing import HandlerHarness
from localservers import NatsServer

asked = {"stream": Foreigner.STREAM, "subject": "legacy.books.*", "type": Foreigner.TYPE}


def imports(*, fails: Callable[[EventContext], None] = lambda _event: None) -> EventRouter:
    router = EventRouter()

    @router.on_foreign(BookSold, **asked)  # type: ignore[arg-type]
    def sold(book: BookSold, tx: Transaction, event: EventContext) -> None:
        assert book.book_id == event.subject
        fails(event)
        write_down(tx, event)

    return router


def node(url: str, nats: NatsServer, router: EventRouter | None = None, **options: Any) -> Node:
    return Node("books", url, nats.url, router=router or imports(), **options)


async def counted(node: Node, table: Any) -> int:
    statement = select(func.count()).select_from(table)
    return await node.database.read(lambda tx: int(tx.session.execute(statement).scalar_one()))


async def test_each_event_is_handled_once_in_order_in_any_mode_and_if_sent_repeatedly(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    async with Foreigner(nats.url) as legacy:
        for number in range(10):
            await legacy.tell(f"b-{number}", sequence=str(3 - number))
            await legacy.tell_structured(f"s-{number}", key=f"book-{number}")
            # Most producers send at least once, and therefore sometimes twice.
            await legacy.tell(f"b-{number}")
        ids = [f"{mode}-{number}" for number in range(10) for mode in "bs"]
        async with node(url, nats) as books:
            await has_taken(books, 20)
            assert await taken_ids(books) == ids
        await legacy.tell("b-3")
        await legacy.tell("b-10")
        async with node(url, nats) as books:
            await has_taken(books, 21)
            assert await taken_ids(books) == [*ids, "b-10"]
            assert (await books.path.ledger()).lag == 0


@pytest.mark.dialect
async def test_the_same_id_of_another_source_is_another_event(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Foreigner(nats.url) as legacy, node(new_database("books"), nats) as books:
        await legacy.tell("1")
        await legacy.tell("1", source="another")
        await legacy.tell("1", source="another")
        await legacy.tell("2")
        await has_taken(books, 3)
        assert await taken_ids(books) == ["1", "1", "2"]


async def test_events_sent_again_in_a_recreated_stream_are_recognized(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Foreigner(nats.url) as legacy, node(new_database("books"), nats) as books:
        for number in range(5):
            await legacy.tell(str(number))
        await has_taken(books, 5)
        await legacy.delete_stream()
        with pytest.raises(LagUnknown, match="'LEGACY' is missing"):
            await books.path.ledger()
        await legacy.make_stream()
        for number in range(3, 7):
            await legacy.tell(str(number))
        await has_taken(books, 7)
        assert await taken_ids(books) == [str(number) for number in range(7)]


async def test_a_failed_event_waits_as_a_task_and_delays_only_its_key(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    tries: Counter[str] = Counter()

    def fails(event: EventContext) -> None:
        tries[event.id] += 1
        if event.id == "poison" and tries[event.id] < 3:
            raise ValueError("not yet")
        if event.id == "never":
            raise Reject("not for us")

    async with (
        Foreigner(nats.url) as legacy,
        node(new_database("books"), nats, imports(fails=fails)) as books,
    ):
        await legacy.tell("poison", key="a")
        await legacy.tell("behind", key="a")
        await legacy.tell("never", key="b")
        await legacy.tell("other", key="c")
        await has_taken(books, 3)
        taken = await taken_ids(books)
        assert sorted(taken) == ["behind", "other", "poison"]
        assert taken.index("poison") < taken.index("behind")
        await books.settled()
        (dead,) = await dead_letters(books)
        assert (dead.event_id, dead.reason) == ("never", "rejected: not for us")


async def dead_letters(node: Node) -> list[Any]:
    statement = select(tables.dead_letters).order_by(tables.dead_letters.c.id)
    return await node.database.read(lambda tx: list(tx.session.execute(statement)))


@pytest.mark.dialect
async def test_an_undecodable_event_becomes_a_dead_letter_and_delays_no_other(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Foreigner(nats.url) as legacy:
        await legacy.send(b"no event at all")
        await legacy.tell("i" * 256)
        await legacy.tell("no-json", datacontenttype="application/xml")
        await legacy.tell("passed over", type="com.example.another")
        await legacy.send(b"elsewhere", subject="legacy.other.1")
        await legacy.tell("good")
        await legacy.tell("passed over, too", type="com.example.another")
        async with node(new_database("books"), nats) as books:
            await has_taken(books, 1)
            assert await taken_ids(books) == ["good"]
            dead = await dead_letters(books)
            assert ["undecodable" in letter.reason for letter in dead] == [True, True, True]
            assert next(letter.data for letter in dead) == b"no event at all"
            assert {letter.type for letter in dead} == {Foreigner.TYPE}
            assert (await books.path.ledger()).lag == 0


async def test_one_of_two_replicas_reads_and_the_other_takes_over(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    async with Foreigner(nats.url) as legacy, node(url, nats) as one, node(url, nats) as other:
        sent = 0

        async def send(count: int) -> None:
            nonlocal sent
            for _ in range(count):
                await legacy.tell(str(sent))
                sent += 1
            await has_taken(one, sent)

        await send(20)

        async def one_reads() -> bool:
            return [len(n.path.foreign_readers[0].lanes) for n in (one, other)] in (
                [0, 1],
                [1, 0],
            )

        await eventually(one_reads)
        reader = one if one.path.foreign_readers[0].lanes else other
        left = other if reader is one else one
        await legacy.tell(str(sent))
        sent += 1
        await reader.stop()
        await has_taken(left, sent)
        await legacy.tell(str(sent))
        await has_taken(left, sent + 1)
        assert await taken_ids(left) == [str(number) for number in range(sent + 1)]


@pytest.mark.dialect
async def test_a_member_with_an_outdated_position_is_refused(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two members that both believe to own the lane: each event takes effect once."""
    url = new_database("books")
    one, other = node(url, nats), node(url, nats)
    ignore_marks(monkeypatch)
    isolate(one)
    isolate(other)
    async with Foreigner(nats.url) as legacy, one, other:
        for number in range(100):
            await legacy.tell(str(number))
        await has_taken(one, 100)
        assert await taken_ids(one) == [str(number) for number in range(100)]
        foreign = one.path.foreign_readers[0].foreign
        moved = await one.path.foreign_readers[0].position.load()
        assert moved
        with pytest.raises(PositionMoved):
            await one.database.transaction(
                lambda tx: foreign_rows.move(tx.session, foreign, Position(1, "", 1), moved)
            )


@pytest.mark.dialect
async def test_a_batch_costs_a_statement_for_its_ids_and_one_for_its_position(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    books = node(new_database("books"), nats)
    statements: list[str] = []
    event.listen(
        books.database.engine,
        "before_cursor_execute",
        lambda *arguments: statements.append(arguments[2]),
    )
    async with Foreigner(nats.url) as legacy:
        for number in range(200):
            await legacy.tell(str(number))
        async with books:
            await has_taken(books, 200)
            noted = [s for s in statements if s.startswith("INSERT INTO slipway_foreign_event")]
            moved = [s for s in statements if s.startswith("UPDATE slipway_foreign_position")]
            commits = len(noted)
    assert len(moved) == commits
    assert commits < 20


@pytest.mark.dialect
async def test_ids_are_forgotten_after_their_time_in_small_parts(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(foreign_reader, "FORGET_MAX_EVENTS", 4)
    monkeypatch.setattr(foreign_reader, "FORGET_SECONDS", 0.0)
    settings = TestSettings(foreign_id_seconds=1000, net_seconds=0.02)
    async with (
        Foreigner(nats.url) as legacy,
        node(new_database("books"), nats, settings=settings) as books,
    ):
        for number in range(10):
            await legacy.tell(str(number))
        await has_taken(books, 10)
        assert await counted(books, tables.foreign_events) == 10
        old = update(tables.foreign_events).where(tables.foreign_events.c.id != "9")
        aged = old.values(taken_at=time.time() - 2000)
        await books.database.transaction(lambda tx: tx.session.execute(aged))

        async def is_forgotten() -> bool:
            return await counted(books, tables.foreign_events) == 1

        await eventually(is_forgotten)


async def test_a_stream_that_lost_unread_messages_is_logged(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    async with Foreigner(nats.url) as legacy:
        async with node(url, nats) as books:
            await legacy.tell("0")
            await has_taken(books, 1)
        for number in range(1, 6):
            await legacy.tell(str(number))
        await legacy.purge(5)
        with capture_logs() as logs:
            async with node(url, nats) as books:
                await has_taken(books, 3)
                assert await taken_ids(books) == ["0", "4", "5"]
        assert [line for line in logs if "deleted unread messages" in line["event"]]


async def test_a_service_may_begin_at_the_newest(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    router = EventRouter()

    @router.on_foreign(BookSold, **asked, start="newest")
    async def sold(book: BookSold, event: EventContext) -> None:
        heard.append(event.id)

    heard: list[str] = []
    async with Foreigner(nats.url) as legacy:
        await legacy.tell("before")
        async with node(new_database("books"), nats, router) as books:

            async def has_begun() -> bool:
                return await books.path.foreign_readers[0].position.load() is not None

            await eventually(has_begun)
            await legacy.tell("after")

            async def is_heard() -> bool:
                return bool(heard)

            await eventually(is_heard)
    assert heard == ["after"]


async def test_the_operators_commands_include_foreign_events(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    async with Foreigner(nats.url) as legacy, node(url, nats) as books:
        await legacy.tell("1")
        await legacy.send(b"no event at all")
        await has_taken(books, 1)
        await eventually(lambda: is_one(books, tables.dead_letters))
        ran = await Shell("books", url, nats.url, router=imports()).run(
            "events", "status", "--json"
        )
        (row,) = ran.rows
        assert (row["stream"], row["type"]) == ("LEGACY", Foreigner.TYPE)
        assert (row["lag"], row["dead_letters"], row["handled"]) == (None, 1, True)
        await books.database.transaction(
            lambda tx: pauses.pause(tx.session, [Foreigner.TYPE], "test")
        )
        consuming = books.path.consuming
        assert consuming
        consuming.refresh()
        await legacy.tell("2")

        async def is_behind() -> bool:
            paused = Foreigner.TYPE in consuming.pauses.types
            return paused and (await books.path.ledger()).lag == 1

        await eventually(is_behind)
        await books.database.transaction(lambda tx: pauses.resume(tx.session, [Foreigner.TYPE]))
        await has_taken(books, 2)


async def is_one(node: Node, table: Any) -> bool:
    return await counted(node, table) == 1


def test_a_handler_runs_in_the_harness() -> None:
    with HandlerHarness(imports_for_harness()) as books:
        (context,) = books.handle(BookSold(book_id="book-1"))
        assert (context.type, context.source) == (Foreigner.TYPE, "https://foreign.example")
        assert heard == [context.id]


heard: list[str] = []


def imports_for_harness() -> EventRouter:
    router = EventRouter()

    @router.on_foreign(BookSold, **asked)  # type: ignore[arg-type]
    def sold(book: BookSold, tx: Transaction, event: EventContext) -> None:
        heard.append(event.id)

    return router


@pytest.mark.parametrize(
    "wrong", [{"stream": "a.b"}, {"stream": ""}, {"subject": "a..b"}, {"subject": ""}]
)
def test_an_invalid_stream_or_subject_is_refused_at_start(wrong: dict[str, str]) -> None:
    router = EventRouter()

    @router.on_foreign(BookSold, **{"stream": "LEGACY", "subject": "a.>", **wrong})  # type: ignore[arg-type]
    def sold(book: BookSold, tx: Transaction) -> None:
        pass

    with pytest.raises(DeclarationError, match="sold"):
        bind_all([router], TestSettings())
