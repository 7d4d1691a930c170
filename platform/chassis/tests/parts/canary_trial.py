"""A stable version and a canary of one service as processes, and the events that they handle."""

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Self, TypeVar

import psutil
from bookshop import journal, sold
from bookstore_process import BookstoreProcess
from relaying import Shop
from sqlalchemy import func, select

from chassis import EventContext
from chassis.database import tables
from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.membership import lane_marks
from chassis.events.membership.members_stream import running_members
from chassis.events.wire.lanes import LANES

__all__ = ["CANARY", "STABLE", "CanaryTrial"]

T = TypeVar("T")

STABLE, CANARY = "1", "2"
_LEFT_TO_OTHERS = "event used up the tries of this version; leaving it to another running version"
_ASK_SECONDS = 0.1
# Events that a killed canary may have been handling run one by one.
_LONGEST_WAIT_SECONDS = 300.0
_EVENTS_OF_A_COMMIT = 100


class CanaryTrial:
    """Runs replicas of both versions on one database, and publishes events while lanes move.

    Attributes:
        shop: The producer of the events, whose relay is that of the replicas.
        changes: The newest row of the journal before each change of the weight or of the members.
        seconds: How long it took until the lanes had their owners, by what changed.
        left_to_stable: How many tasks canaries have left to the other version.
        processor_seconds: The processor time of the replicas that have ended.
    """

    def __init__(
        self,
        folder: Path,
        *,
        url: str,
        nats_url: str,
        keys: int,
        seed: int,
        variables: Mapping[str, str],
        canary: Mapping[str, str],
    ) -> None:
        self._folder = folder
        self._keys = keys
        self._random = random.Random(seed)
        self._nats_url = nats_url
        self._weight = folder / "weight"
        self._settings = {"database_url": url, "nats_url": nats_url, **variables}
        self._of_canary = {"event_weight_file": str(self._weight), **canary}
        self._running: list[BookstoreProcess] = []
        self.shop = Shop(url)
        self.changes: list[int] = []
        self.seconds: dict[str, list[float]] = {}
        self.left_to_stable = 0
        self.processor_seconds = 0.0

    async def __aenter__(self) -> Self:
        await self.shop.__aenter__()
        return self

    async def __aexit__(self, *failure: Any) -> None:
        for process in list(self._running):
            await self.kill(process)
        await self.shop.__aexit__(*failure)

    async def start(self, version: str, *, weighed: bool = True) -> BookstoreProcess:
        """Start a replica of a version; that of the canary has a weight, unless it is promoted."""
        number = len(list(self._folder.glob("replica-*")))
        process = BookstoreProcess(
            self._folder / f"replica-{number}",
            module="versioned_service",
            version=version,
            **{**self._settings, **(self._of_canary if version == CANARY and weighed else {})},
        )
        process.start()
        self._running.append(process)
        return process

    async def kill(self, replica: BookstoreProcess) -> None:
        """Kill a replica by SIGKILL."""
        assert replica.process is not None
        self._examine(replica)
        replica.process.kill()
        replica.process.join()
        self._running.remove(replica)

    async def stop(self, replica: BookstoreProcess) -> None:
        """Stop a replica in order."""
        self._examine(replica)
        replica.send_signal()
        assert await replica.wait_for_exit() == 0
        self._running.remove(replica)

    async def weigh(self, percent: int, events: int) -> None:
        """Write the canary's weight while events are handled, and wait for its lanes."""

        async def write() -> None:
            self._weight.write_text(f"{percent}\n", encoding="utf-8")

        await self.change("weight", LANES * percent // 100, write, events)

    async def change(
        self, what: str, lanes: int, change: Callable[[], Awaitable[T]], events: int
    ) -> T:
        """Change something at a random moment among events; wait until version 2 has its lanes.

        Returns what `change` returns.
        """
        before = self._random.randint(0, events)
        await self.sell(before)
        await asyncio.sleep(self._random.uniform(0, 0.3))
        self.changes.append(await self._newest_row())
        started = time.monotonic()
        changed = await change()
        await self.sell(events - before)
        await self._wait(lambda: self._are_shared(lanes))
        self.seconds.setdefault(what, []).append(time.monotonic() - started)
        return changed

    async def sell(self, events: int) -> list[EventContext]:
        """Publish the next events in several commits."""
        first, published = len(self.shop.published), list[EventContext]()
        for start in range(first, first + events, _EVENTS_OF_A_COMMIT):
            some = range(start, min(start + _EVENTS_OF_A_COMMIT, first + events))
            published += await self.shop.publish(*(sold(n, self._keys) for n in some))
        return published

    async def all_are_handled(self) -> None:
        """Wait until each published event has a row in the journal, and no task waits."""

        async def holds() -> bool:
            rows = await self._count(journal)
            return rows >= len(self.shop.published) and not await self._count(tables.tasks)

        await self._wait(holds)

    async def owners(self) -> dict[int, str]:
        """Return the version that reads each lane; empty while a lane has two owners."""
        async with connection(NatsOptions(self._nats_url), "trial") as client:
            members = {m.member: m.version for m in await running_members(client, "bookstore")}
        marks = await self.shop.database.read(lambda tx: lane_marks.load(tx.session))
        owners = {mark.lane: members.get(mark.member, "gone") for mark in marks}
        return owners if len(owners) == len(marks) else {}

    async def dead_letters(self) -> int:
        """Return the number of dead letters."""
        return await self._count(tables.dead_letters)

    async def _are_shared(self, lanes: int) -> bool:
        """Whether each lane has one owner that runs, and the canary this number of lanes."""
        counts = Counter((await self.owners()).values())
        return counts[CANARY] == lanes and counts[STABLE] == LANES - lanes

    async def _newest_row(self) -> int:
        newest = select(func.coalesce(func.max(journal.c.id), 0))
        return await self.shop.database.read(
            lambda tx: int(tx.session.execute(newest).scalar_one())
        )

    async def _count(self, table: Any) -> int:
        number = select(func.count()).select_from(table)
        return await self.shop.database.read(
            lambda tx: int(tx.session.execute(number).scalar_one())
        )

    async def _wait(self, holds: Callable[[], Awaitable[bool]]) -> None:
        """Wait until a condition holds, and ask seldom, because asking costs processor time."""
        until = time.monotonic() + _LONGEST_WAIT_SECONDS
        while not await holds():
            assert time.monotonic() < until, (await self.owners(), self._log_ends())
            await asyncio.sleep(_ASK_SECONDS)

    def _examine(self, replica: BookstoreProcess) -> None:
        """Note what a replica has done, before it ends."""
        assert replica.process is not None
        times = psutil.Process(replica.process.pid).cpu_times()
        self.processor_seconds += times.user + times.system
        self.left_to_stable += replica.logged_events().count(_LEFT_TO_OTHERS)

    def _log_ends(self) -> list[str]:
        """Return the last lines of each replica, for the message of a failed test."""
        return [process.log.read_text(encoding="utf-8")[-2000:] for process in self._running]
