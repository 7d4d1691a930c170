"""The events that are not done yet, counted for the conservation laws and for operators."""

from collections.abc import Sequence
from dataclasses import dataclass

from chassis.database import Database
from chassis.events.consumer.foreign_reader import ForeignReader
from chassis.events.consumer.reader import Reader
from chassis.events.producer import outbox
from chassis.events.producer import refused as refused_rows
from chassis.events.tasks import storage

__all__ = ["EventLedger", "count"]


@dataclass(frozen=True, slots=True)
class EventLedger:
    """The numbers of events that are not done yet, counted from rows.

    `unsent` includes the events that the stream refused. `lag` counts events that are not processed
    yet, and `stopped` has a line for each stopped lane.
    """

    unsent: int
    lag: int
    tasks: int
    dead_letters: int
    stopped: tuple[str, ...]


async def count(
    database: Database, readers: Sequence[Reader], foreign: Sequence[ForeignReader]
) -> EventLedger:
    """Count the events that are not done yet, over all replicas.

    Raises:
        DatabaseDown, ConnectionLost, LagUnknown, JetStreamError, nats.errors.Error,
        TimeoutError: they cannot be counted now.
    """
    # The order of counting is the order in which an event moves on, so that an event which moves
    # in the meantime is counted at its next place instead of nowhere.
    unsent = await database.read(
        lambda tx: outbox.unsent_count(tx.session) + refused_rows.count(tx.session)
    )
    all_readers: list[Reader | ForeignReader] = [*readers, *foreign]
    lag = sum([await reader.lag_of_all() for reader in all_readers])
    tasks, dead = await database.read(lambda tx: storage.count(tx.session))
    stopped = tuple(
        f"{stop.subject}: {stop.reason}" for reader in readers for stop in reader.stopped_lanes.all
    )
    return EventLedger(unsent, lag, tasks, dead, stopped)
