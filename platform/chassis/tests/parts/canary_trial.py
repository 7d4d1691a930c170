"""A stable version and a canary of one service, and the events that they handle."""

import asyncio
import random
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Generic, Self, TypeVar

from bookshop import journal, sold
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

R = TypeVar("R")
T = TypeVar("T")

STABLE, CANARY = "1", "2"
# Events that a killed canary may have been handling run one by one.
_LONGEST_WAIT_SECONDS = 300.0
_EVENTS_OF_A_COMMIT = 100


class CanaryTrial(ABC, Generic[R]):
    """Runs replicas of both versions on one database, and publishes events while lanes move.

    A replica is an R.

    Attributes:
        shop: The producer of the events, whose relay is that of the replicas.
        nats_url: The broker of the replicas, as this process reaches it.
        ask_seconds: The pause between two looks at the lanes; each look costs processor time.
        changes: The newest row of the journal before each change of the weight or of the members.
        seconds: How long it took until the lanes had their owners, by what changed.
    """

    ask_seconds = 0.1

    def __init__(self, *, url: str, nats_url: str, keys: int, seed: int) -> None:
        self._keys = keys
        self._random = random.Random(seed)
        self.nats_url = nats_url
        self.shop = Shop(url)
        self.changes: list[int] = []
        self.seconds: dict[str, list[float]] = {}

    async def __aenter__(self) -> Self:
        await self.shop.__aenter__()
        return self

    async def __aexit__(self, *failure: Any) -> None:
        await self.shop.__aexit__(*failure)

    @abstractmethod
    async def start(self, version: str, *, weighed: bool = True) -> R:
        """Start a replica of a version; that of the canary has a weight, unless it is promoted."""

    @abstractmethod
    async def kill(self, replica: R) -> None:
        """Kill a replica by SIGKILL."""

    @abstractmethod
    async def stop(self, replica: R) -> None:
        """Stop a replica in order."""

    @abstractmethod
    async def write_weight(self, percent: int) -> None:
        """Change the weight of the canary."""

    @abstractmethod
    def log_ends(self) -> Sequence[str]:
        """Return the last lines of each replica, for the message of a failed test."""

    async def weigh(self, percent: int, events: int) -> None:
        """Change the canary's weight while events are handled, and wait for its lanes."""
        await self.change(
            "weight", LANES * percent // 100, lambda: self.write_weight(percent), events
        )

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
        async with connection(NatsOptions(self.nats_url), "trial") as client:
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
        """Wait until a condition holds."""
        until = time.monotonic() + _LONGEST_WAIT_SECONDS
        while not await holds():
            assert time.monotonic() < until, (await self.owners(), self.log_ends())
            await asyncio.sleep(self.ask_seconds)
