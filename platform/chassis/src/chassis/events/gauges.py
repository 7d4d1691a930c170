"""The gauges of the event path, measured at intervals.

A gauge that cannot be measured has no value, neither 0 nor its last one.
"""

import asyncio
import time
from collections.abc import Sequence

import structlog

from chassis.database import Database
from chassis.events.consumer import stopped_lane_rows
from chassis.events.consumer.foreign_reader import ForeignReader
from chassis.events.consumer.reader import Reader
from chassis.events.held_up import HeldUp
from chassis.events.producer import outbox, refused
from chassis.events.tasks import storage
from chassis.telemetry import metrics

__all__ = ["MEASURE_SECONDS", "measure_continuously"]

_log = structlog.get_logger(__name__)
MEASURE_SECONDS = 10.0
"""The shortest interval between two measurements."""


async def measure_continuously(
    database: Database,
    readers: Sequence[Reader],
    foreign: Sequence[ForeignReader],
    held_up: HeldUp,
) -> None:
    """Measure until cancelled. Lanes are counted for the platform's own streams only."""
    while True:
        _measure_lanes(readers)
        started = time.monotonic()
        await _measure_rows(database, held_up)
        _measure_pauses(held_up)
        # The time that counting takes grows with the rows. The pause is 100 times as long, but ends
        # before the samples of the gauges are too old to be reported.
        counting_seconds = time.monotonic() - started
        await _measure_lag([*readers, *foreign])
        await asyncio.sleep(min(max(MEASURE_SECONDS, 100 * counting_seconds), 2 * MEASURE_SECONDS))


def _measure_lanes(readers: Sequence[Reader]) -> None:
    """Count the streams, the lanes that are read and those that are stopped."""
    metrics.EVENT_STREAMS.set(len(readers))
    if all(reader.lanes_known for reader in readers):
        metrics.EVENT_LANES.set(sum(len(reader.lanes) for reader in readers))
        metrics.EVENT_LANES_STOPPED.set(sum(len(reader.stopped_lanes.all) for reader in readers))
    else:
        metrics.EVENT_LANES.forget()
        metrics.EVENT_LANES_STOPPED.forget()


async def _measure_rows(database: Database, held_up: HeldUp) -> None:
    """Count the rows that wait, of the outbox, tasks, dead letters and stopped lanes."""
    try:
        oldest, refused_events, (tasks, dead), stopped = await database.read(
            lambda tx: (
                outbox.oldest_unsent(tx.session),
                refused.count(tx.session),
                storage.count(tx.session),
                stopped_lane_rows.load(tx.session),
            )
        )
    except Exception as error:
        _log.debug(
            "measuring outbox and tasks failed; their gauges have no sample", error=repr(error)
        )
        metrics.OUTBOX_OLDEST_SECONDS.forget()
        metrics.OUTBOX_REFUSED.forget()
        metrics.EVENT_TASKS.forget()
        metrics.EVENT_DEAD_LETTERS.forget()
        held_up.forget()
        return
    metrics.OUTBOX_OLDEST_SECONDS.set(time.time() - oldest if oldest else 0)
    metrics.OUTBOX_REFUSED.set(refused_events)
    metrics.EVENT_TASKS.set(tasks, "waiting")
    metrics.EVENT_DEAD_LETTERS.set(dead)
    held_up.update(dead, stopped, refused_events)


def _measure_pauses(held_up: HeldUp) -> None:
    """Count the paused types."""
    paused = held_up.paused_types
    if paused is None:
        metrics.EVENT_TYPES_PAUSED.forget()
    else:
        metrics.EVENT_TYPES_PAUSED.set(len(paused))


async def _measure_lag(readers: Sequence[Reader | ForeignReader]) -> None:
    """Add the lag of all readers."""
    try:
        lag = sum([await reader.lag() for reader in readers])
    except Exception as error:
        _log.debug("measuring lag failed; its gauge has no sample", error=repr(error))
        metrics.EVENT_LAG.forget()
    else:
        metrics.EVENT_LAG.set(lag)
