"""Messages that a stream holds: read one by one from its leader, or in pages by direct gets."""

import json
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client

from chassis.events.jetstream.api import (
    STREAM_NOT_FOUND,
    TIMEOUT_SECONDS,
    JetStreamError,
    StreamGone,
    api_request,
)
from chassis.events.jetstream.client import COPY_OF_A_COPY, api_subject
from chassis.events.jetstream.server_time import epoch_seconds
from chassis.events.wire import event_headers

__all__ = [
    "PAGE_BYTES",
    "Stored",
    "first_stored",
    "last_before",
    "last_messages",
    "last_stored",
    "read_from",
    "stored_at",
]

# The server refuses a request for the last messages of more than 1,024 subjects.
_SUBJECTS_AT_ONCE = 500
PAGE_BYTES = 8 * 1024 * 1024
"""The broker sends at most this much in one answer about last messages."""
_NO_MESSAGE = 10037


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as the stream holds it. `time` is when the server stored it, in epoch seconds."""

    sequence: int
    subject: str
    headers: Mapping[str, str]
    data: bytes
    time: float = 0.0

    @property
    def number(self) -> int:
        """The event's number within its subject; 0 for a copy, and if no relay sent it."""
        return 0 if self.is_copy else event_headers.integer(self.headers, event_headers.NUMBER)

    @property
    def is_copy(self) -> bool:
        """Whether the message is a copy of one that is stored elsewhere."""
        return event_headers.is_copy(self.headers, self.sequence)


async def last_stored(client: Client, stream: str) -> Stored | None:
    """Return the stream's last message, from its leader; None if the stream is empty."""
    return await _get_from_leader(client, stream, {"last_by_subj": ">"})


async def stored_at(client: Client, stream: str, sequence: int) -> Stored | None:
    """Return the message at a sequence, from the leader; None if there is none."""
    return await _get_from_leader(client, stream, {"seq": sequence})


async def first_stored(
    client: Client, stream: str, subject: str, from_sequence: int = 1
) -> Stored | None:
    """Return the subject's first message at or above a sequence, from the leader; or None."""
    return await _get_from_leader(client, stream, {"seq": from_sequence, "next_by_subj": subject})


async def _get_from_leader(client: Client, stream: str, query: Mapping[str, Any]) -> Stored | None:
    """Return a stored message, read from the stream's leader; None if there is none."""
    try:
        answer = await api_request(client, f"STREAM.MSG.GET.{stream}", query)
    except JetStreamError as error:
        if error.error_code == _NO_MESSAGE:
            return None
        raise
    message = answer["message"]
    headers = _parse_headers(b64decode(message.get("hdrs", "")))
    data = b64decode(message.get("data", ""))
    time = epoch_seconds(message.get("time", ""))
    return Stored(message["seq"], message["subject"], headers, data, time)


def _parse_headers(block: bytes) -> dict[str, str]:
    """Parse a block of NATS headers."""
    lines = block.decode(errors="replace").split("\r\n")[1:]
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name: value.strip() for name, value in pairs}


async def last_messages(
    client: Client, stream: str, subjects: Sequence[str]
) -> AsyncIterator[Stored]:
    """Yield the last message of each subject (wildcards allowed) that has one.

    A replica of the stream may answer, so the messages may be slightly stale.
    """
    for start in range(0, len(subjects), _SUBJECTS_AT_ONCE):
        some = list(subjects[start : start + _SUBJECTS_AT_ONCE])
        query = {"multi_last": some, "batch": 1000, "max_bytes": PAGE_BYTES}
        while query:
            end = _PageEnd()
            last = 0
            async for stored in _read_page(client, stream, query, end):
                last = stored.sequence
                yield stored
            more = end.pending and last
            query = query | {"seq": last + 1, "up_to_seq": end.up_to_sequence} if more else {}


async def last_before(client: Client, stream: str, subject: str, sequence: int) -> Stored | None:
    """Return the subject's last message below a sequence; None if there is none."""
    query = {"multi_last": [subject], "batch": 1, "up_to_seq": sequence - 1}
    found = None
    if sequence > 1:
        async for stored in _read_page(client, stream, query, _PageEnd()):
            found = stored
    return found


async def read_from(
    client: Client, stream: str, sequence: int, subject: str = ">"
) -> AsyncGenerator[Stored, None]:
    """Yield the messages of a subject (default: of all) from a sequence to the stream's end."""
    while True:
        count = 0
        query = {"seq": sequence, "next_by_subj": subject, "batch": 500}
        async for stored in _read_page(client, stream, query, _PageEnd()):
            count += 1
            sequence = stored.sequence + 1
            yield stored
        if count == 0:
            return


@dataclass(slots=True)
class _PageEnd:
    """The end of a page: how many messages are left, and the stream's last sequence for it."""

    pending: int = 0
    up_to_sequence: int = 0


async def _read_page(
    client: Client, stream: str, query: Mapping[str, Any], end: _PageEnd
) -> AsyncIterator[Stored]:
    """Yield the answers to one DIRECT.GET (ADR-31), and fill in `end`."""
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    try:
        subject = api_subject(client, f"DIRECT.GET.{stream}")
        await client.publish(subject, json.dumps(query).encode(), reply=inbox)
        while True:
            message = await subscription.next_msg(timeout=TIMEOUT_SECONDS)
            headers = message.headers or {}
            # A stored message may have a "Status" of its own; the server's status has no sequence.
            if "Nats-Sequence" in headers:
                yield Stored(
                    int(headers["Nats-Sequence"]),
                    headers["Nats-Subject"],
                    _stored_headers(headers),
                    message.data,
                    epoch_seconds(headers.get("Nats-Time-Stamp", "")),
                )
                continue
            status = headers.get("Status")
            if status == "404" or status == "204":
                end.pending = int(headers.get("Nats-Num-Pending", 0))
                end.up_to_sequence = int(headers.get("Nats-UpTo-Sequence", 0))
                return
            if status == "503":
                raise StreamGone(404, STREAM_NOT_FOUND, "stream not found")
            raise JetStreamError(int(status or 0), 0, headers.get("Description", ""))
    finally:
        await subscription.unsubscribe()


def _stored_headers(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Return the headers as stored: without the server's mark of a copy, unless that was stored."""
    if COPY_OF_A_COPY in headers:
        return headers
    return {name: value for name, value in headers.items() if name != event_headers.COPIED_FROM}
