"""What the processes show of themselves while they run: counters of events, and memory."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

import httpx
from prometheus_client.parser import text_string_to_metric_families

from demo.replicas import Named, Replica, Running

__all__ = ["EventCount", "Memory", "count_events", "read_event_counts"]

_COUNTERS = {
    "events_handled_total": "taken",
    "events_seen_again_total": "seen_again",
    "events_failed_total": "failed",
}


@dataclass(frozen=True, slots=True)
class EventCount:
    """Of one type, over all services and replicas; a process counts from its start."""

    taken: int = 0
    seen_again: int = 0
    """Came again after they had been taken, and were dropped."""
    failed: int = 0
    """Tries of a handler that failed."""


@dataclass(frozen=True, slots=True)
class Memory:
    """Of all replicas of a service, in bytes."""

    pss: int | None
    """Shared pages counted by share; None where the system does not tell."""
    rss: int


async def read_event_counts(platform: Running) -> dict[str, EventCount]:
    """From /metrics of every replica that runs and whose URL is known, by the event's full name.

    Raises httpx.HTTPError if one does not answer.
    """
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        pages = await asyncio.gather(
            *(
                client.get(f"{process.http_url}/metrics", headers=_named(process))
                for process in platform.processes
                if process.running and process.http_url
            )
        )
    return count_events(page.raise_for_status().text for page in pages)


def _named(process: Replica) -> dict[str, str]:
    """In a mesh a sidecar asks for the name: it doesn't know the address as one of the mesh's."""
    host = process.http_host if isinstance(process, Named) else None
    return {"host": host} if host else {}


def count_events(pages: Iterable[str]) -> dict[str, EventCount]:
    """The counters of these pages of metrics, added up by the event's full name."""
    found: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    for page in pages:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name in _COUNTERS:
                    found[sample.labels["type"]][_COUNTERS[sample.name]] += int(sample.value)
    return {type: EventCount(**found[type]) for type in sorted(found)}
