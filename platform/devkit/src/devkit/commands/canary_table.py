"""The weights and lanes of canaries, as they are asked for and as they are."""

import asyncio
import re
from collections import defaultdict
from collections.abc import Sequence

from rich.table import Table

from devkit.local_http import get
from devkit.state import PlatformState

__all__ = ["canary_table"]

_LANES = re.compile(rb"^event_lanes (\S+)$", re.MULTILINE)


async def canary_table(state: PlatformState) -> Table:
    """Return a table with a row for each process of a service with a canary.

    Lanes are counted over all streams that the service reads; a process that has not measured them
    recently has none in the table.
    """
    processes = [process for process in state.services if process.track]
    lanes = await asyncio.gather(*(_lanes(process.http_port) for process in processes))
    of_service: dict[str, list[int | None]] = defaultdict(list)
    for process, count in zip(processes, lanes, strict=True):
        of_service[process.service].append(count)
    weights = {canary.service: canary.weight for canary in state.canaries}
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="dim")
    for column in ("service", "version"):
        table.add_column(column, no_wrap=True)
    for column in ("weight", "lanes"):
        table.add_column(column, no_wrap=True, justify="right")
    for process, count in zip(processes, lanes, strict=True):
        weight = weights[process.service]
        table.add_row(
            process.name,
            process.environment["APP_VERSION"],
            f"{weight if process.track == 'canary' else 100 - weight} %",
            _share(count, of_service[process.service]),
        )
    return table


def _share(count: int | None, of_service: Sequence[int | None]) -> str:
    """Return the lanes of a process, and those of all replicas of the service if all are known."""
    if count is None:
        return ""
    known = [each for each in of_service if each is not None]
    return f"{count} of {sum(known)}" if len(known) == len(of_service) else str(count)


async def _lanes(port: int) -> int | None:
    """Return the lanes that the service on a port reads; None if it does not say."""
    found = _LANES.search((await get(port, "/metrics")).body)
    return int(float(found[1])) if found else None
