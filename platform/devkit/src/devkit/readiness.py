"""The readiness of services on this machine, by their answers to /readyz."""

import json
from dataclasses import dataclass
from typing import Any

from devkit.local_http import get

__all__ = ["Answer", "get_readiness", "is_ready"]


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer of /readyz.

    Dead letters, stopped lanes and paused types are None if the answer does not contain them.
    """

    ready: bool
    dead_letters: int | None = None
    stopped_lanes: tuple[str, ...] | None = None
    paused_types: tuple[str, ...] | None = None


async def get_readiness(port: int, *, seconds: float = 2) -> Answer:
    """Return the answer of /readyz on 127.0.0.1; not ready if there is none within `seconds`."""
    response = await get(port, "/readyz", seconds=seconds)
    return _parse(response.status == 200, response.body)


async def is_ready(port: int, *, seconds: float = 2) -> bool:
    """Return whether /readyz on 127.0.0.1 answers 200 within `seconds`."""
    return (await get_readiness(port, seconds=seconds)).ready


def _parse(ready: bool, body: bytes) -> Answer:
    """Parse the body of a readiness probe."""
    try:
        events: Any = json.loads(body)["events"]
        stopped, paused = events["stopped_lanes"], events.get("paused_types")
        return Answer(
            ready,
            events["dead_letters"],
            None if stopped is None else tuple(stopped),
            None if paused is None else tuple(paused),
        )
    except (ValueError, KeyError, TypeError):  # The service has no events, or is not ready.
        return Answer(ready)
