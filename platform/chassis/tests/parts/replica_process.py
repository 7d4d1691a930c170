"""A replica of the accountant as a process: `python -m replica_process OPTIONS`, as JSON."""

import asyncio
import ctypes
import json
import os
import signal
import sys
import time
from typing import Any

from bookshop import Node, TestSettings, note_prepared, write_down

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Transaction
from chassis.database import postgres_engine


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def _log_to(path: str) -> None:
    import structlog

    file = open(path, "a", encoding="utf-8", buffering=1)  # noqa: SIM115 (until the process ends)
    structlog.configure(logger_factory=structlog.WriteLoggerFactory(file))


async def _run(options: dict[str, Any]) -> None:
    """Run a replica.

    It stops or dies in the transaction of event number `stop_at` or `die_at`, or stops before the
    next transaction after `stop_after` events. `log` is the file for its log.
    """
    if "log" in options:
        _log_to(options["log"])
    member, handled = options["member"], 0
    events = EventRouter()
    if "killers" in options:
        from killers import killers

        events = killers(options["killers"], member)

    def handle(tx: Transaction, event: EventContext) -> None:
        nonlocal handled
        handled += 1
        write_down(tx, event, member)
        if handled == options.get("stop_at"):
            os.kill(os.getpid(), signal.SIGSTOP)
        if handled == options.get("die_at"):
            os.kill(os.getpid(), signal.SIGKILL)
        time.sleep(options.get("delay", 0))

    if "BookSold" in options.get("types", ["BookSold"]):

        @events.on(BookSold)
        def sold(book: BookSold, tx: Transaction, event: EventContext) -> None:
            handle(tx, event)

    if "BookReturned" in options.get("types", ["BookReturned"]):

        @events.on(BookReturned)
        def returned(book: BookReturned, tx: Transaction, event: EventContext) -> None:
            handle(tx, event)

    if "idle_seconds" in options:
        postgres_engine.IDLE_SECONDS = options["idle_seconds"]
    if options["prepared"]:
        note_prepared(options["url"])
    node = Node(
        "books",
        options["url"],
        options["nats_url"],
        router=events,
        member=member,
        version=options.get("version", "1"),
        settings=TestSettings(**options.get("settings", {})),
    )
    if "stop_after" in options:
        from owners import before_commits

        async def stop(_events: Any) -> None:
            if handled >= options.get("stop_after", handled + 1):
                del options["stop_after"]
                os.kill(os.getpid(), signal.SIGSTOP)

        before_commits(node, stop)
    if options.get("isolated"):
        from owners import isolate

        isolate(node)
    ended = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, ended.set)
    await node.start()
    await ended.wait()
    await node.stop()


if __name__ == "__main__":
    _die_with_parent()
    asyncio.run(_run(json.loads(sys.argv[1])))
