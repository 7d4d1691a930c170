"""Measurements of running processes: counters of events, and memory."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from demo.replicas import NamedReplica, Replica, RunningServices

__all__ = ["EventCount", "Memory", "count_events", "read_event_counts"]

_COUNTERS = {
    "events_handled_total": "handled",
    "events_seen_again_total": "seen_again",
    "events_failed_total": "failed",
}


@dataclass(frozen=True, slots=True)
class EventCount:
    """Counts of one type of event, over all replicas, since the start of each process."""

    handled: int = 0
    seen_again: int = 0
    """Events that were delivered again after they had been handled, and dropped."""
    failed: int = 0
    """Failed calls of a handler."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Memory of all replicas of a service, in bytes."""

    pss: int | None
    """Proportional set size; None if the system does not report it."""
    rss: int


async def read_event_counts(platform: RunningServices) -> dict[str, EventCount]:
    """Read the counters from /metrics of each running replica with a known URL, by event type.

    Raises httpx.HTTPError if a replica does not answer.
    """
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        pages = await asyncio.gather(
            *(
                client.get(f"{process.http_url}/metrics", headers=_host_header(process))
                for process in platform.processes
                if process.running and process.http_url
            )
        )
    return count_events(page.raise_for_status().text for page in pages)


def _host_header(process: Replica) -> dict[str, str]:
    """Return the Host header of a named replica: in a mesh, a sidecar routes by the name only."""
    host = process.http_host if isinstance(process, NamedReplica) else None
    return {"host": host} if host else {}


def count_events(pages: Iterable[str]) -> dict[str, EventCount]:
    """Sum the counters of several pages of metrics by event type."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for page in pages:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name in _COUNTERS:
                    found[sample.labels["type"]][_COUNTERS[sample.name]] += int(sample.value)
    return {type: EventCount(**found[type]) for type in sorted(found)}
