"""An event that ends its process becomes a dead letter; events next to it take effect."""

import asyncio
import signal
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest
from bookshop import Node, eventually
from killers import calls, leases_run_out
from relaying import StreamView
from replicas import Replica, Replicas
from shop_and_books import running_shop
from task_store import TaskStore

from bookstore.v1 import BookSold
from chassis import EventContext
from localservers import NatsServer

NewDatabase = Callable[[str], str]
EVENTS = 24
KILLER = 9
TRIES = 2


class Supervisor:
    """Restarts a replica whenever it has died, as an orchestrator does.

    Its leases and its membership end when it has died, and never while it lives.
    """

    def __init__(
        self, replicas: Replicas, task_store: TaskStore, nats_url: str, options: dict[str, Any]
    ) -> None:
        self._start: Callable[[str], Replica] = lambda member: replicas.start(
            task_store.url, nats_url, member, types=[], **options
        )
        self._desk = task_store
        self._stream = StreamView(nats_url)
        self.deaths = -1
        self.current: Replica | None = None

    async def run(self) -> None:
        while self.deaths < 30:
            if self.current is None or not self.current.alive:
                self.deaths += 1
                if self.current:
                    await leases_run_out(self._desk.database)
                    await self._stream.api("STREAM.PURGE.slipway-members")
                self.current = self._start(f"member-{self.deaths}")
            await asyncio.sleep(0.02)


@asynccontextmanager
async def supervised(
    replicas: Replicas, task_store: TaskStore, nats: NatsServer, **killers: object
) -> AsyncIterator[Supervisor]:
    settings = {"task_tries": TRIES, "task_lease_seconds": 600, "member_ttl_seconds": 600}
    options = {"killers": killers, "settings": settings}
    supervisor = Supervisor(replicas, task_store, nats.url, options)
    running = asyncio.create_task(supervisor.run())
    try:
        yield supervisor
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


def books_sold(killer: int | None = KILLER) -> list[BookSold]:
    return [BookSold(book_id=f"key {n % 4}", price=-1 if n == killer else n) for n in range(EVENTS)]


async def all_written(task_store: TaskStore, shop: Node, contexts: list[EventContext]) -> None:
    """Wait until each event has taken effect once, in the order of its key."""

    async def done() -> bool:
        return len(await task_store.written()) >= len(contexts) and await task_store.is_empty()

    await eventually(done)
    ids = await task_store.written()
    assert sorted(ids) == sorted(context.id for context in contexts)
    for key in {context.partition_key for context in contexts}:
        of_key = [context.id for context in contexts if context.partition_key == key]
        assert [id for id in ids if id in of_key] == of_key


@pytest.mark.parametrize(
    ("kind", "how"),
    [
        ("async def", "SIGKILL"),
        pytest.param("def", "exit", marks=pytest.mark.long),
        pytest.param("on_batch", "SIGKILL", marks=pytest.mark.long),
    ],
)
async def test_an_event_that_ends_its_process_is_a_dead_letter_and_others_take_effect_once(
    nats: NatsServer, task_store: TaskStore, replicas: Replicas, tmp_path: Path, kind: str, how: str
) -> None:
    log = tmp_path / "calls"
    async with running_shop(nats, lambda name: f"sqlite:///{tmp_path}/{name}.db") as shop:
        contexts = await shop.publish(*books_sold())
        await shop.settled()
        async with supervised(
            replicas, task_store, nats, kind=kind, how=how, log=str(log)
        ) as supervisor:

            async def buried() -> bool:
                return len(await task_store.dead()) == 1

            await eventually(buried)
            killer = contexts.pop(KILLER)
            (letter,) = await task_store.dead()
            assert (letter.event_id, letter.tries) == (killer.id, TRIES)
            assert letter.reason.startswith("its process ended while it ran alone")
            # It was called once together with others, and then `TRIES` times alone.
            assert calls(log)[killer.id] == 1 + TRIES
            await all_written(task_store, shop, contexts)
            assert supervisor.deaths == 1 + TRIES


@pytest.mark.long
async def test_kills_from_outside_make_no_dead_letter(
    nats: NatsServer, task_store: TaskStore, replicas: Replicas, tmp_path: Path
) -> None:
    """Kills from outside count as tries, so that they must be fewer than these."""
    log, hold = tmp_path / "calls", tmp_path / "hold"
    hold.touch()
    async with running_shop(nats, lambda name: f"sqlite:///{tmp_path}/{name}.db") as shop:
        contexts = await shop.publish(*books_sold(killer=None))
        options = {"kind": "async def", "how": "", "log": str(log), "hold": str(hold)}
        async with supervised(replicas, task_store, nats, **options) as supervisor:
            for kills in range(1, 1 + TRIES):
                # At first one task of each key is claimed, then one of them alone.
                at_least = sum(calls(log).values()) + (4 if kills == 1 else 1)

                async def in_hand(at_least: int = at_least) -> bool:
                    return sum(calls(log).values()) >= at_least

                await eventually(in_hand, 100)
                assert supervisor.current
                supervisor.current.send(signal.SIGKILL)
                await supervisor.current.is_gone()
            hold.unlink()
            await all_written(task_store, shop, list(contexts))
            assert supervisor.deaths == TRIES
        assert await task_store.dead() == []


@pytest.mark.long
async def test_an_event_that_ends_its_process_fewer_times_than_its_tries_takes_effect(
    nats: NatsServer, task_store: TaskStore, replicas: Replicas, tmp_path: Path
) -> None:
    log = tmp_path / "calls"
    async with running_shop(nats, lambda name: f"sqlite:///{tmp_path}/{name}.db") as shop:
        contexts = await shop.publish(*books_sold())
        options = {"kind": "def", "how": "exit", "log": str(log), "times": TRIES}
        async with supervised(replicas, task_store, nats, **options) as supervisor:
            await all_written(task_store, shop, list(contexts))
            assert supervisor.deaths == TRIES
        assert await task_store.dead() == []


@pytest.mark.dialect
async def test_another_member_finishes_the_tasks_of_a_killed_one(
    nats: NatsServer, task_store: TaskStore, replicas: Replicas, tmp_path: Path
) -> None:
    log, hold = tmp_path / "calls", tmp_path / "hold"
    hold.touch()
    options: dict[str, Any] = {
        "killers": {"kind": "async def", "how": "", "log": str(log), "hold": str(hold)},
        "settings": {"task_lease_seconds": 600},
        "types": [],
    }
    async with running_shop(nats, lambda name: f"sqlite:///{tmp_path}/{name}.db") as shop:
        contexts = await shop.publish(*(BookSold(book_id=f"key {n}") for n in range(12)))
        first = replicas.start(task_store.url, nats.url, "first", **options)

        async def in_hand() -> bool:
            return len(calls(log)) == 12

        await eventually(in_hand, 100)
        first.send(signal.SIGKILL)
        await first.is_gone()
        hold.unlink()
        await leases_run_out(task_store.database)
        replicas.start(task_store.url, nats.url, "second", **options)
        await all_written(task_store, shop, list(contexts))
    assert calls(log) == {context.id: 2 for context in contexts}
    assert await task_store.dead() == []
