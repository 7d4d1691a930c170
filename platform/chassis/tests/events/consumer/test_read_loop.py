"""The loop reads again after each interruption and error, until it is stopped."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from chassis.database import Database, DatabaseDown
from chassis.event_settings import EventSettings
from chassis.events.consumer.dependencies import ReaderDependencies
from chassis.events.consumer.held_lanes import HeldLanes
from chassis.events.consumer.position import PositionMoved
from chassis.events.consumer.read_loop import ReadLoop, Reopen
from chassis.events.consumer.suspicions import Suspicions
from chassis.events.handlers.pauses import Pause, Pauses
from chassis.events.jetstream.api import StreamGone
from chassis.events.jetstream.broker import Broker
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.membership.members import Members
from chassis.events.producer.event_factory import EventFactory
from chassis.events.tasks.gate import Gate

pytestmark = pytest.mark.unit


@pytest.fixture
def dependencies(tmp_path: Path) -> Iterator[ReaderDependencies]:
    """The parts of a process whose broker is connected, without a server."""
    broker = Broker(NatsOptions("nats://127.0.0.1:1"), "books")
    broker.connected.set()
    members = Members(broker, service="books", member="one", version="1", ttl_seconds=60)
    members.joined.set()
    with closing(Database(f"sqlite:///{tmp_path}/books.db", EventFactory("books"))) as database:
        yield ReaderDependencies(
            database=database,
            broker=broker,
            members=members,
            gate=Gate(),
            pauses=Pauses(database, 60),
            settings=EventSettings(),
            on_tasks=lambda _canary: None,
        )


@pytest.fixture
def loop(dependencies: ReaderDependencies) -> ReadLoop:
    database, members = dependencies.database, dependencies.members
    lanes = HeldLanes("bookstore", database, members, Suspicions(1), excluded=set)
    return ReadLoop("bookstore", lanes, dependencies, if_missing="create it")


class Script:
    """A `read` that raises one of the errors in each call, and then stops the loop."""

    def __init__(self, loop: ReadLoop, *errors: Exception) -> None:
        self._loop = loop
        self._errors = list(errors)
        self.known: list[bool] = []
        self.missing = 0

    async def run(self) -> None:
        await asyncio.wait_for(self._loop.run(self._read, self._on_missing), 60)

    async def _read(self) -> None:
        self.known.append(self._loop.lanes_known)
        self._loop.lanes_known = True
        if self._errors:
            raise self._errors.pop(0)
        self._loop.stop()

    async def _on_missing(self) -> None:
        self.missing += 1


async def test_reading_is_repeated_after_each_error(loop: ReadLoop) -> None:
    errors = [Reopen("late"), PositionMoved("moved"), DatabaseDown("down"), ValueError("a mistake")]
    script = Script(loop, *errors)
    await script.run()

    assert len(script.known) == 5
    assert script.missing == 0


async def test_lanes_are_unknown_after_an_error_and_known_after_a_new_consumer(
    loop: ReadLoop,
) -> None:
    script = Script(loop, Reopen("late"), DatabaseDown("down"))
    await script.run()

    assert script.known == [False, True, False]


async def test_a_missing_stream_is_reported_in_each_attempt(loop: ReadLoop) -> None:
    script = Script(loop, StreamGone(404, 10059, "stream not found"), Reopen("late"))
    await script.run()

    assert script.missing == 1


async def test_a_loop_that_waits_for_the_broker_can_be_stopped(
    loop: ReadLoop, dependencies: ReaderDependencies
) -> None:
    dependencies.broker.connected.clear()
    script = Script(loop)
    running = asyncio.create_task(script.run())
    await asyncio.sleep(0)
    loop.stop()
    await running

    assert script.known == []


async def test_a_change_of_paused_types_interrupts_reading_once(
    loop: ReadLoop, dependencies: ReaderDependencies
) -> None:
    current: list[bool] = []

    async def read() -> None:
        current.append(loop.is_current)
        if len(current) == 3:
            loop.stop()
            return
        dependencies.pauses.found([Pause("bookstore.v1.BookSold", 0, "Ada")])
        current.append(loop.is_current)

    async def on_missing() -> None:
        raise AssertionError("the stream is there")

    await asyncio.wait_for(loop.run(read, on_missing), 60)
    assert current == [True, False, True]
