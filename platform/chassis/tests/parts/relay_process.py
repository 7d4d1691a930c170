"""Runs relays that kill themselves at a step: `relay_process.py DATABASE NATS STEP…`.

Each runs in a process of its own, forked from one that has imported everything. The exit code is
the number of those that did not die by SIGKILL.
"""

import asyncio
import ctypes
import os
import signal
import sys
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

PARTS = Path(__file__).parent
sys.path[:0] = [str(PARTS.parent / "contracts"), str(PARTS)]

STEPS = (
    "before numbering",
    "after numbering, before its commit",
    "before publishing",
    "within a batch",
    "published, not recorded",
    "recorded with the next numbers, not committed",
    "recorded with the next numbers",
    "recorded after the last event, not committed",
)
BATCH = 8


def _die() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL, 0, 0, 0)


def _arm(step: str) -> None:
    """Let the relay of this process kill itself at a step."""
    client_class: Any = import_module("chassis.events.jetstream.client").JetStreamClient
    draining = import_module("chassis.events.producer.draining")
    publisher: Any = import_module("chassis.events.jetstream.ordered_batch").BatchPublisher

    def before(target: Any, name: str, *, call: int = 1) -> None:
        _wrap(target, name, lambda calls: calls == call, lambda _calls: False)

    def after(target: Any, name: str, *, call: int = 1) -> None:
        _wrap(target, name, lambda _calls: False, lambda calls: calls == call)

    match step:
        case "before numbering":
            before(draining, "number_new")
        case "after numbering, before its commit":
            after(draining, "number_new")
        case "before publishing":
            before(publisher, "publish")
        case "within a batch":
            send = client_class.send_commands

            async def the_first(client: Any, commands: bytes) -> None:
                half = commands.index(b"HPUB ", len(commands) // 2)
                await send(client, commands[:half])
                # The server must have these messages.
                await client.flush()
                _die()

            client_class.send_commands = the_first
        case "published, not recorded":
            original = publisher.publish

            async def then_die(*arguments: Any) -> None:
                await original(*arguments)
                _die()

            publisher.publish = then_die
        case "recorded with the next numbers, not committed":
            after(draining, "number_new", call=2)
        case "recorded with the next numbers":
            before(publisher, "publish", call=2)
        case "recorded after the last event, not committed":
            after(draining, "record_sent")
        case "never":
            pass
        case _:
            raise ValueError(step)


def _wrap(
    target: Any, name: str, before: Callable[[int], bool], after: Callable[[int], bool]
) -> None:
    original, calls = getattr(target, name), 0

    def wrapped(*arguments: Any, **options: Any) -> Any:
        nonlocal calls
        calls += 1
        if before(calls):
            _die()
        result = original(*arguments, **options)
        if after(calls):
            _die()
        return result

    setattr(target, name, wrapped)


def _relay(url: str, nats_url: str, *, uses_lock: bool) -> None:
    from bookshop import TestSettings
    from relaying import STREAM, TYPES

    from chassis.database import Database
    from chassis.events.producer.event_factory import EventFactory
    from chassis.events.producer.relay import Relay
    from chassis.events.wire.contracts import event_type

    async def run() -> None:
        await Relay(
            Database(url, EventFactory(STREAM, TYPES)),
            stream=STREAM,
            types=tuple(map(event_type, TYPES)),
            nats_url=nats_url,
            settings=TestSettings(),
            batch_events=BATCH,
            uses_lock=uses_lock,
        ).run()

    asyncio.run(run())


def main(url: str, nats_url: str, *steps: str) -> int:
    import relaying  # noqa: F401 (imported once, for all forks)

    alive = 0
    for step in steps:
        child = os.fork()
        if child == 0:
            _die_with_parent()
            _arm(step)
            signal.alarm(30)
            _relay(url, nats_url, uses_lock=step == "never")
        _, status = os.waitpid(child, 0)
        killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
        print(f"{step}: {'killed' if killed else status}", flush=True)
        alive += not killed
    return alive


if __name__ == "__main__":
    _die_with_parent()
    sys.exit(main(*sys.argv[1:]))
