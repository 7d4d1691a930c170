"""The work of each version of a service that has a canary: events, calls and requests."""

import asyncio
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import httpx
from prometheus_client.parser import text_string_to_metric_families

if TYPE_CHECKING:
    from devkit.service_process import ServiceProcess

__all__ = ["VersionCount", "count_work", "read_version_counts"]


@dataclass(frozen=True, slots=True)
class VersionCount:
    """The work of all replicas of one version, since the start of each process."""

    events: int = 0
    failed: int = 0
    """Tries of a handler that failed."""
    calls: int = 0
    """Answered gRPC calls."""
    requests: int = 0
    """Answered HTTP requests."""


_COUNTERS = {
    "events_handled_total": "events",
    "events_failed_total": "failed",
    "grpc_server_handled_total": "calls",
    "http_requests_total": "requests",
}


async def read_version_counts(
    processes: "Iterable[ServiceProcess]",
) -> dict[str, dict[str, VersionCount]]:
    """Return the work by service and version, of the services of which two versions run.

    Raises httpx.HTTPError if a process does not answer.
    """
    compared = [process for process in processes if process.track and process.running]
    async with httpx.AsyncClient(timeout=10, trust_env=False) as client:
        pages = await asyncio.gather(
            *(client.get(f"{process.http_url}/metrics") for process in compared)
        )
    work: dict[tuple[str, str], list[str]] = {}
    for process, page in zip(compared, pages, strict=True):
        work.setdefault((process.service, process.version), []).append(page.text)
    counts: dict[str, dict[str, VersionCount]] = {}
    for (service, version), texts in work.items():
        counts.setdefault(service, {})[version] = count_work(texts)
    return counts


def count_work(pages: Iterable[str]) -> VersionCount:
    """Sum the counters of several pages of metrics."""
    found: Counter[str] = Counter()
    for page in pages:
        for family in text_string_to_metric_families(page):
            for sample in family.samples:
                if sample.name in _COUNTERS:
                    found[_COUNTERS[sample.name]] += int(sample.value)
    return VersionCount(**found)
