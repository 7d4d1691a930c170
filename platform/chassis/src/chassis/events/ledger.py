"""What the event path still holds, counted for the laws and for operators."""

from collections.abc import Sequence
from dataclasses import dataclass

from chassis.database import Database
from chassis.events.consumer.foreign_reader import ForeignReader
from chassis.events.consumer.reader import Reader
from chassis.events.producer import outbox
from chassis.events.producer import refused as refused_rows
from chassis.events.tasks import rows as task_rows

__all__ = ["EventLedger", "count"]


@dataclass(frozen=True, slots=True)
class EventLedger:
    """What the event path still holds, counted from rows at the moment of asking.

    What the stream refused and was set apart counts as unsent.
    """

    unsent: int
    lag: int
    tasks: int
    dead_letters: int
    stopped: tuple[str, ...]


async def count(
    database: Database, readers: Sequence[Reader], foreign: Sequence[ForeignReader]
) -> EventLedger:
    """Count what is unsent, not yet taken, waiting and dead, over all replicas.

    Raises:
        DatabaseDown, ConnectionLost, LagUnknown, JetStreamError, nats.errors.Error,
        TimeoutError: it cannot be counted now.
    """
    # In the order in which an event goes: what moves on meanwhile is counted later, and not
    # missed by all.
    unsent = await database.read(
        lambda tx: outbox.unsent_count(tx.session) + refused_rows.count(tx.session)
    )
    every: list[Reader | ForeignReader] = [*readers, *foreign]
    lag = sum([await reader.lag_of_all() for reader in every])
    tasks, dead = await database.read(lambda tx: task_rows.count(tx.session))
    stopped = tuple(
        f"{stop.subject}: {stop.reason}" for reader in readers for stop in reader.stops.all
    )
    return EventLedger(unsent, lag, tasks, dead, stopped)
