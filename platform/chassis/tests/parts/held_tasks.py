"""Tasks that a test claims itself, or holds in a handler."""

import asyncio

from bookshop import TestSettings, eventually, write_down
from task_store import TaskStore

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Transact, Transaction
from chassis.events.tasks import claims
from chassis.events.tasks.queue import TaskFilter
from chassis.events.tasks.task import Task

__all__ = ["PATIENT", "RENEWING", "TYPES", "HeldHandler", "claim", "plain", "renewed"]

TYPES = ["bookstore.v1.BookSold"]
# A lease expires only when a test makes it expire.
PATIENT = TestSettings(task_lease_seconds=600)
# A lease is renewed several times while a test waits.
RENEWING = TestSettings(task_lease_seconds=0.3)


def claim(tx: Transaction, owner: str, limit: int = 100) -> list[Task]:
    """Claim due tasks for a member."""
    return claims.claim(
        tx.session, TaskFilter(TYPES), dict.fromkeys(TYPES, limit), owner=owner, lease_seconds=600
    )[0]


def plain() -> EventRouter:
    """Return a `def` handler that writes down its events."""
    router = EventRouter()

    @router.on(BookSold)
    def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
        write_down(tx, event)

    return router


class HeldHandler:
    """A handler that runs until the test lets it finish."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.begun, self.may_end = asyncio.Event(), asyncio.Event()
        self.router = EventRouter()

        @self.router.on(BookSold)
        async def handle(book: BookSold, event: EventContext, transact: Transact) -> None:
            self.calls.append(event.id)
            self.begun.set()
            await self.may_end.wait()
            await transact(write_down, event)


async def renewed(task_store: TaskStore, times: int) -> None:
    """Wait until the only task's lease was renewed `times` times."""
    ends: set[float] = set()

    async def holds() -> bool:
        ends.add((await task_store.rows())[0].leased_until)
        return len(ends) > times

    await eventually(holds)
