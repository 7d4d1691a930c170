"""The rows of an outbox, as a file: each event's id, headers and data.

The contenders by other libraries import this module, so it imports nothing of the platform.
"""

import base64
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from nats.js import JetStreamContext

from bench.worker import Check

__all__ = ["Row", "batches", "found", "read_rows", "stored_data", "write_rows"]


@dataclass(frozen=True)
class Row:
    """An event in an outbox."""

    event_id: str
    headers: str
    """A JSON object."""
    data: bytes


def write_rows(file: Path, rows: Iterable[Row]) -> None:
    """Write rows to a file."""
    with file.open("w", encoding="utf-8") as lines:
        for row in rows:
            data = base64.b64encode(row.data).decode()
            lines.write(json.dumps([row.event_id, row.headers, data]) + "\n")


def read_rows(file: str, count: int) -> list[Row]:
    """Return the first rows of a file."""
    with Path(file).open(encoding="utf-8") as lines:
        found = [json.loads(line) for line, _ in zip(lines, range(count), strict=False)]
    return [Row(id, headers, base64.b64decode(data)) for id, headers, data in found]


def found(data: Iterable[bytes]) -> Check:
    """Return the number of messages, and a digest of what they hold, in any order."""
    digests = sorted(sha256(each).hexdigest() for each in data)
    return {"messages": len(digests), "data": sha256("".join(digests).encode()).hexdigest()}


async def stored_data(context: JetStreamContext, stream: str, subject: str) -> list[bytes]:
    """Return the data of all messages of a stream."""
    info = await context.stream_info(stream)
    subscription: Any = await context.subscribe(subject, stream=stream, ordered_consumer=True)
    return [(await subscription.next_msg(timeout=30)).data for _ in range(info.state.messages)]


def batches(rows: list[Row], size: int) -> Iterator[list[Row]]:
    """Yield the rows in lists of at most `size`."""
    for begin in range(0, len(rows), size):
        yield rows[begin : begin + size]
