"""The wait until all orders have ended and all events are handled."""

import asyncio
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import httpx

from demo.ledgers import (
    EventEntry,
    Ledgers,
    LedgerUnavailable,
    OrderEntry,
    read_event_ledgers,
    read_ledgers,
    read_orders,
)
from demo.measurements import read_event_counts
from demo.replicas import RunningServices
from devkit.errors import DevkitError

__all__ = ["NotEnded", "OpenWork", "find_open", "wait_ended"]

_SHORTEST_PAUSE_SECONDS = 0.2
_QUIET_ROUNDS = 2
_NEVER_QUIET = "events are still being handled, or a replica does not return its metrics"


class NotEnded(DevkitError):
    """Some work did not end in time."""


@dataclass(frozen=True, slots=True)
class OpenWork:
    """Work that has not ended yet."""

    orders: int | None
    """Number of pending orders; None if a service does not answer."""
    descriptions: tuple[str, ...]
    """A line for each kind of open work; empty if there is none."""


async def wait_ended(
    platform: RunningServices,
    on_progress: Callable[[OpenWork], None] | None = None,
    *,
    patience: float = 90,
) -> None:
    """Return when there is no pending order, unsent event, lag, task or refund.

    Services may be killed and started meanwhile. Dead letters don't count as open.

    Args:
        on_progress: called with the open work, each time it was read.
        patience: longest time without any change of the open work, in seconds. It must be longer
            than the time-out of an order, which ends an order that no service handles.

    Raises:
        NotEnded: the open work, which the message lists, did not change for `patience` seconds.
    """
    before: OpenWork | None = None
    changed_at = time.monotonic()
    quiet = _Quiet(platform)
    while True:
        began = time.monotonic()
        now = await _read_open(platform)
        if on_progress is not None:
            on_progress(now)
        if await quiet.is_confirmed(now):
            return
        if now != before:
            before, changed_at = now, time.monotonic()
        elif time.monotonic() - changed_at > patience:
            raise NotEnded(
                f"open work has not changed for {patience:g} s:\n"
                + "\n".join(f"  {line}" for line in now.descriptions or (_NEVER_QUIET,))
            )
        # Pause longer after a slow read, because services have other work than large ledgers.
        await asyncio.sleep(max(_SHORTEST_PAUSE_SECONDS, 3 * (time.monotonic() - began)))


class _Quiet:
    """Detects that no event was handled during several reads without open work.

    Services are read one by one, so an event can be missing in all ledgers: its producer was read
    before the event was published, its consumer after it was handled. Handling an event increases a
    counter; if the counters cannot be read, all ledgers are compared, which almost every event
    changes.
    """

    def __init__(self, platform: RunningServices) -> None:
        self._platform = platform
        self._rounds = 0
        self._snapshot: int | Ledgers | None = None

    async def is_confirmed(self, now: OpenWork) -> bool:
        """Return whether nothing was open or handled since `_QUIET_ROUNDS` calls."""
        if now.descriptions:
            self._rounds = 0
            return False
        snapshot = await self._read_snapshot()
        unchanged = snapshot is not None and snapshot == self._snapshot
        self._rounds = self._rounds + 1 if unchanged else 0
        self._snapshot = snapshot
        return self._rounds >= _QUIET_ROUNDS

    async def _read_snapshot(self) -> int | Ledgers | None:
        """Return the number of handled events, or all ledgers; None if a service fails."""
        try:
            if not all(process.http_url for process in self._platform.processes):
                return await read_ledgers(self._platform)
            counts = await read_event_counts(self._platform)
        except (httpx.HTTPError, LedgerUnavailable):
            return None
        return sum(count.handled for count in counts.values())


async def _read_open(platform: RunningServices) -> OpenWork:
    """Return the orders and events that are not processed yet."""
    try:
        orders, events = await asyncio.gather(read_orders(platform), read_event_ledgers(platform))
    except LedgerUnavailable as error:
        return OpenWork(None, (str(error),))
    return find_open(orders, events)


def find_open(orders: Mapping[str, OrderEntry], events: Mapping[str, EventEntry]) -> OpenWork:
    """Return the open work in these ledgers. An open refund is an unhandled event or a task."""
    pending = [order_id for order_id, order in orders.items() if order.status == "pending"]
    descriptions = []
    if pending:
        descriptions.append(f"{len(pending):,} pending orders, the first is {pending[0]}")
    for service, entry in events.items():
        parts = []
        if entry.unsent:
            parts.append(f"{entry.unsent:,} unsent events")
        if entry.lag:
            parts.append(f"{entry.lag:,} events not handled")
        if entry.tasks:
            parts.append(f"{entry.tasks:,} tasks")
        if parts:
            parts += [f"stopped at {stop}" for stop in entry.stopped]
            descriptions.append(f"{service}: {', '.join(parts)}")
    return OpenWork(len(pending), tuple(descriptions))
