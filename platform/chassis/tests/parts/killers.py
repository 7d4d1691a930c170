"""Handlers that end their process, and a log of their calls that survives it."""

import asyncio
import os
import signal
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bookshop import write_down
from sqlalchemy import update

from bookstore.v1 import BookSold
from chassis import EventContext, EventRouter, Transact, Transaction
from chassis.database import Database
from chassis.database.tables import tasks

__all__ = ["calls", "killers", "leases_run_out"]


async def leases_run_out(database: Database) -> None:
    """Let the leases of all claimed tasks expire."""
    await database.transaction(
        lambda tx: tx.session.execute(
            update(tasks).where(tasks.c.owner.is_not(None)).values(leased_until=0)
        )
    )


def calls(log: Path) -> Counter[str]:
    """Return the number of calls for each event id, over all processes."""
    return Counter(log.read_text(encoding="utf-8").split()) if log.exists() else Counter()


def killers(options: dict[str, Any], member: str) -> EventRouter:
    """Return handlers of a `kind` (def, async def, on_batch) for sold books.

    An event with a negative price ends the process, by `how` (exit or SIGKILL), for at most `times`
    calls. An async handler waits while the file `hold` exists.
    """
    log = Path(options["log"])
    hold = Path(options["hold"]) if "hold" in options else None

    def call(book: BookSold, event: EventContext) -> None:
        before = calls(log)[event.id]
        with log.open("a", encoding="utf-8") as lines:
            lines.write(f"{event.id}\n")
        if book.price < 0 and before < options.get("times", 1000):
            if options["how"] == "exit":
                os._exit(1)
            os.kill(os.getpid(), signal.SIGKILL)
            time.sleep(60)

    router = EventRouter()
    if options["kind"] == "def":

        @router.on(BookSold)
        def handle(book: BookSold, tx: Transaction, event: EventContext) -> None:
            write_down(tx, event, member)
            call(book, event)

    elif options["kind"] == "async def":

        @router.on(BookSold)
        async def handle_async(book: BookSold, event: EventContext, transact: Transact) -> None:
            call(book, event)
            while hold and hold.exists():
                await asyncio.sleep(0.01)
            await transact(write_down, event, member)

    else:

        @router.on_batch(BookSold)
        def handle_all(
            books: Sequence[BookSold], events: Sequence[EventContext], tx: Transaction
        ) -> None:
            for book, event in zip(books, events, strict=True):
                write_down(tx, event, member)
                call(book, event)

    return router
