"""Orders that were sent: a broker with a stream of them, and the outbox that they came from."""

from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from bench.stage import Stage
from bench.worker import Work
from localservers import NatsServer

__all__ = ["SentOrders", "sent"]

_AT_ONCE = 50_000
"""Number of events that one process sends, which has a limit in time."""


@dataclass(frozen=True)
class SentOrders:
    """A broker that has the stream, and the URL of the SQLite file with the outbox."""

    broker: NatsServer
    database: str


def sent(stage: Stage, count: int, bytes: int = 0) -> SentOrders:
    """Return this number of sent orders, which are made once for the stage.

    Args:
        bytes: the number of bytes that each order has more than usual.
    """
    return stage.keep(f"{count} orders sent, {bytes}", partial(_send, stage, count, bytes))


def _send(stage: Stage, count: int, bytes: int, exits: ExitStack) -> SentOrders:
    broker = exits.enter_context(NatsServer(stage.folder / f"nats-{count}-{bytes}"))
    database = stage.database("sqlite")
    left = stage.count(count)
    while left:
        some = min(left, _AT_ONCE)
        around = {"bytes": stage.count(bytes)}
        work = Work(count=some, nats=broker.url, database=database, around=around)
        stage.run("growth.fill", work)
        left -= some
    return SentOrders(broker, database)
