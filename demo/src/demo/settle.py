"""Waits until everything that was placed has ended."""

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
from demo.replicas import Running
from devkit.errors import DevkitError

__all__ = ["NotEnded", "Open", "still_open", "wait_ended"]

_SHORTEST_PAUSE_SECONDS = 0.2
_QUIET_ROUNDS = 2
_NEVER_QUIET = "events go on being taken, or a replica does not answer for its metrics"


class NotEnded(DevkitError):
    """Something stays open."""


@dataclass(frozen=True, slots=True)
class Open:
    """What has not ended yet."""

    orders: int | None
    """Orders that are pending; None when orders does not answer."""
    what: tuple[str, ...]
    """For people, one line each; empty when nothing is open."""


async def wait_ended(
    platform: Running,
    on_progress: Callable[[Open], None] | None = None,
    *,
    patience: float = 90,
) -> None:
    """Return once nothing is open: no order, unsent event, lag, task or refund.

    Services may be killed and started meanwhile. Dead letters are not waited for: they stay.

    Args:
        on_progress: called with what is open, each time it was looked at.
        patience: longest time without any change in what is open, in seconds. An order that
            nobody sees to ends by its time-out, so this must be longer.

    Raises:
        NotEnded: what is open did not change for so long; the text says what it is.
    """
    before: Open | None = None
    changed_at = time.monotonic()
    quiet = _Quiet(platform)
    while True:
        began = time.monotonic()
        now = await _look(platform)
        if on_progress is not None:
            on_progress(now)
        if await quiet.after(now):
            return
        if now != before:
            before, changed_at = now, time.monotonic()
        elif time.monotonic() - changed_at > patience:
            raise NotEnded(
                f"for {patience:g} s nothing has changed, and still open are:\n"
                + "\n".join(f"  {line}" for line in now.what or (_NEVER_QUIET,))
            )
        # A big ledger takes time to read: whoever answers for it has other work, too.
        await asyncio.sleep(max(_SHORTEST_PAUSE_SECONDS, 3 * (time.monotonic() - began)))


class _Quiet:
    """Whether nothing moves.

    Services are asked one after the other, so an event could be in none of the answers: with one
    of them before it was sent, with the other after it was taken. Taking it moves a counter; where
    the counters cannot be read, all ledgers are compared, in which almost every event shows.
    """

    def __init__(self, platform: Running) -> None:
        self._platform = platform
        self._rounds = 0
        self._seen: int | Ledgers | None = None

    async def after(self, now: Open) -> bool:
        if now.what:
            self._rounds = 0
            return False
        seen = await self._see()
        self._rounds = self._rounds + 1 if seen is not None and seen == self._seen else 0
        self._seen = seen
        return self._rounds >= _QUIET_ROUNDS

    async def _see(self) -> int | Ledgers | None:
        """None if somebody does not answer."""
        try:
            if not all(process.http_url for process in self._platform.processes):
                return await read_ledgers(self._platform)
            counts = await read_event_counts(self._platform)
        except (httpx.HTTPError, LedgerUnavailable):
            return None
        return sum(count.taken for count in counts.values())


async def _look(platform: Running) -> Open:
    try:
        orders, events = await asyncio.gather(read_orders(platform), read_event_ledgers(platform))
    except LedgerUnavailable as error:
        return Open(None, (str(error),))
    return still_open(orders, events)


def still_open(orders: Mapping[str, OrderEntry], events: Mapping[str, EventEntry]) -> Open:
    """What is open by these ledgers. An open refund is an event somewhere, or a task."""
    pending = [order_id for order_id, order in orders.items() if order.status == "pending"]
    what = []
    if pending:
        what.append(f"{len(pending):,} orders pending, the first is {pending[0]}")
    for service, entry in events.items():
        parts = []
        if entry.unsent:
            parts.append(f"{entry.unsent:,} unsent events")
        if entry.lag:
            parts.append(f"{entry.lag:,} events not taken yet")
        if entry.tasks:
            parts.append(f"{entry.tasks:,} tasks")
        if parts:
            parts += [f"stopped at {stop}" for stop in entry.stopped]
            what.append(f"{service}: {', '.join(parts)}")
    return Open(len(pending), tuple(what))
