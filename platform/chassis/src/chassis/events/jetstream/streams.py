"""JetStream as the event path uses it: streams, atomic batches, last messages, ack-less consumers.

Plain requests to the server's API (ADR-1 and following of nats-architecture-and-design): what is
needed here goes beyond the client's own JetStream context.
"""

import asyncio
import contextlib
import json
from base64 import b64decode
from collections.abc import AsyncGenerator, AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.errors import ConnectionClosedError, NoRespondersError

from chassis.events.jetstream.nats_options import COPY_OF_A_COPY, api_subject
from chassis.events.wire import transport
from chassis.ids import uuid7

__all__ = [
    "BATCH_MAX",
    "EVENT_REFUSED",
    "STREAM_NOT_FOUND",
    "BatchIncomplete",
    "JetStreamError",
    "Stored",
    "StreamGone",
    "StreamState",
    "WrongLastSequence",
    "api",
    "count_from",
    "create_consumer",
    "delete_consumer",
    "first_stored",
    "last_before",
    "last_messages",
    "last_stored",
    "names_holding",
    "publish_batch",
    "read_from",
    "stored_at",
    "stream_state",
]

BATCH_MAX = 1000  # the server's limit for an atomic batch
STREAM_NOT_FOUND = 10059
# The message, or its headers, are larger than the stream or the server takes: any other would do.
EVENT_REFUSED = frozenset({10054, 10097})
_TIMEOUT = 5.0
_SUBJECTS_AT_ONCE = 500  # the server gives the last messages of at most 1,024
_PAGE_BYTES = 8 * 1024 * 1024
_WRONG_LAST_SEQUENCE = 10071
_NO_MESSAGE = 10037
_BATCH_INCOMPLETE = 10176


class JetStreamError(Exception):
    """The server refused a request of its JetStream API."""

    def __init__(self, code: int, error_code: int, description: str) -> None:
        super().__init__(f"{description} ({code}/{error_code})")
        self.code = code
        self.error_code = error_code
        self.description = description


class StreamGone(JetStreamError):
    """There is no such stream, or none for this subject."""


class BatchIncomplete(JetStreamError):
    """The stream took only some of a batch's messages, so none: it lacks a subject."""


class WrongLastSequence(JetStreamError):
    """The stream does not end where the publisher believed."""

    @property
    def last_sequence(self) -> int | None:
        """Where it ended at that moment, if the server said so."""
        _, _, sequence = self.description.rpartition(": ")
        return int(sequence) if sequence.isascii() and sequence.isdigit() else None


@dataclass(frozen=True, slots=True)
class StreamState:
    """What STREAM.INFO says of a stream, `now` by the server's clock (epoch seconds)."""

    created: str
    messages: int
    first_sequence: int
    last_sequence: int
    config: Mapping[str, Any]
    now: float = field(default=0.0, compare=False)

    @property
    def max_age_seconds(self) -> float:
        """How long it keeps a message; 0 means for ever."""
        return float(self.config.get("max_age", 0)) / 1e9


@dataclass(frozen=True, slots=True)
class Stored:
    """A message as the stream holds it, and when it was stored, by the server's clock."""

    sequence: int
    subject: str
    headers: Mapping[str, str]
    data: bytes
    time: float = 0.0

    @property
    def number(self) -> int:
        """Its number within its subject; 0 for a stranger's, and for a copy of an event."""
        return 0 if self.is_copy else transport.integer(self.headers, transport.NUMBER)

    @property
    def is_copy(self) -> bool:
        """Whether it is a copy of a message that is stored elsewhere."""
        return transport.is_copy(self.headers, self.sequence)


def _raise(error: Mapping[str, Any]) -> None:
    code, error_code = int(error.get("code", 0)), int(error.get("err_code", 0))
    kinds = {
        _WRONG_LAST_SEQUENCE: WrongLastSequence,
        STREAM_NOT_FOUND: StreamGone,
        _BATCH_INCOMPLETE: BatchIncomplete,
    }
    raise kinds.get(error_code, JetStreamError)(code, error_code, str(error.get("description")))


async def api(client: Client, subject: str, body: Mapping[str, Any] | None = None) -> Any:
    """One request to the JetStream API, `subject` without its prefix.

    Raises:
        JetStreamError: the server refused. StreamGone, WrongLastSequence: as they say.
        TimeoutError, nats.errors.Error: no answer.
    """
    payload = json.dumps(body).encode() if body is not None else b""
    answer = await client.request(api_subject(client, subject), payload, timeout=_TIMEOUT)
    parsed = json.loads(answer.data)
    if "error" in parsed:
        _raise(parsed["error"])
    return parsed


async def names_holding(client: Client, subject: str) -> list[str]:
    """The streams that hold a subject, or a part of what a wildcard stands for."""
    return list((await api(client, "STREAM.NAMES", {"subject": subject})).get("streams") or [])


async def stream_state(client: Client, stream: str) -> StreamState:
    """Where a stream begins and ends, asked of its leader.

    Raises:
        StreamGone: there is no such stream.
    """
    info = await api(client, f"STREAM.INFO.{stream}")
    state = info["state"]
    return StreamState(
        created=info["created"],
        messages=state["messages"],
        first_sequence=state["first_seq"],
        last_sequence=state["last_seq"],
        config=info["config"],
        now=_seconds(info["ts"]),
    )


async def last_stored(client: Client, stream: str) -> Stored | None:
    """The stream's last message, from its leader; None if it is empty."""
    return await _get(client, stream, {"last_by_subj": ">"})


async def stored_at(client: Client, stream: str, sequence: int) -> Stored | None:
    """The message at a sequence, from the leader; None if there is none."""
    return await _get(client, stream, {"seq": sequence})


async def first_stored(
    client: Client, stream: str, subject: str, from_sequence: int = 1
) -> Stored | None:
    """The oldest message held of a subject from a sequence on, from the leader; or None."""
    return await _get(client, stream, {"seq": from_sequence, "next_by_subj": subject})


async def _get(client: Client, stream: str, query: Mapping[str, Any]) -> Stored | None:
    try:
        answer = await api(client, f"STREAM.MSG.GET.{stream}", query)
    except JetStreamError as error:
        if error.error_code == _NO_MESSAGE:
            return None
        raise
    message = answer["message"]
    headers = _parse_headers(b64decode(message.get("hdrs", "")))
    data = b64decode(message.get("data", ""))
    return Stored(
        message["seq"], message["subject"], headers, data, _seconds(message.get("time", ""))
    )


def _seconds(time: str) -> float:
    """Epoch seconds of a time in RFC 3339; 0 if there is none."""
    return datetime.fromisoformat(time).timestamp() if time else 0.0


def _parse_headers(block: bytes) -> dict[str, str]:
    lines = block.decode(errors="replace").split("\r\n")[1:]
    pairs = (line.split(":", 1) for line in lines if ":" in line)
    return {name: value.strip() for name, value in pairs}


async def last_messages(
    client: Client, stream: str, subjects: Sequence[str]
) -> AsyncIterator[Stored]:
    """The last message of each subject (wildcards allowed) that has one. May be a moment stale."""
    for start in range(0, len(subjects), _SUBJECTS_AT_ONCE):
        some = list(subjects[start : start + _SUBJECTS_AT_ONCE])
        query = {"multi_last": some, "batch": 1000, "max_bytes": _PAGE_BYTES}
        while query:
            end = _End()
            last = 0
            async for stored in _direct(client, stream, query, end):
                last = stored.sequence
                yield stored
            more = end.left and last
            query = query | {"seq": last + 1, "up_to_seq": end.up_to} if more else {}


async def last_before(client: Client, stream: str, subject: str, sequence: int) -> Stored | None:
    """The last message held of a subject before a sequence; None if there is none."""
    query = {"multi_last": [subject], "batch": 1, "up_to_seq": sequence - 1}
    found = None
    if sequence > 1:
        async for stored in _direct(client, stream, query, _End()):
            found = stored
    return found


async def read_from(
    client: Client, stream: str, sequence: int, subject: str = ">"
) -> AsyncGenerator[Stored, None]:
    """Messages from a sequence on, to the end as it is now; only of a subject if one is given."""
    while True:
        count = 0
        query = {"seq": sequence, "next_by_subj": subject, "batch": 500}
        async for stored in _direct(client, stream, query, _End()):
            count += 1
            sequence = stored.sequence + 1
            yield stored
        if count == 0:
            return


@dataclass(slots=True)
class _End:
    """How many messages an answer had no room for, and the sequence up to which it was made."""

    left: int = 0
    up_to: int = 0


async def _direct(
    client: Client, stream: str, query: Mapping[str, Any], end: _End
) -> AsyncIterator[Stored]:
    """A DIRECT.GET that is answered by many messages and an end (ADR-31)."""
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    try:
        subject = api_subject(client, f"DIRECT.GET.{stream}")
        await client.publish(subject, json.dumps(query).encode(), reply=inbox)
        while True:
            message = await subscription.next_msg(timeout=_TIMEOUT)
            headers = message.headers or {}
            # A message has its place in the stream, and maybe a stranger's "Status"; the server's
            # own word has none.
            if "Nats-Sequence" in headers:
                yield Stored(
                    int(headers["Nats-Sequence"]),
                    headers["Nats-Subject"],
                    _as_stored(headers),
                    message.data,
                    _seconds(headers.get("Nats-Time-Stamp", "")),
                )
                continue
            status = headers.get("Status")
            if status == "404" or status == "204":
                end.left = int(headers.get("Nats-Num-Pending", 0))
                end.up_to = int(headers.get("Nats-UpTo-Sequence", 0))
                return
            if status == "503":
                raise StreamGone(404, STREAM_NOT_FOUND, "stream not found")
            raise JetStreamError(int(status or 0), 0, headers.get("Description", ""))
    finally:
        await subscription.unsubscribe()


def _as_stored(headers: Mapping[str, str]) -> Mapping[str, str]:
    """Without the broker's word that this is a copy, unless a copy is what it has stored."""
    if COPY_OF_A_COPY in headers:
        return headers
    return {name: value for name, value in headers.items() if name != transport.COPIED_FROM}


async def publish_batch(
    client: Client,
    batch_id: str,
    messages: Sequence[tuple[str, bytes, Mapping[str, str]]],
    expected_last_sequence: int,
) -> int:
    """Store messages (subject, data, headers) all or not at all; the sequence of the last (ADR-50).

    Headers hold no line breaks: they go as they are. One round trip: what the server has
    against any of the messages it says to the last.

    Raises:
        WrongLastSequence: the stream does not end at `expected_last_sequence`; nothing was stored.
        BatchIncomplete: the stream does not take one of the subjects; nothing was stored.
        StreamGone: no stream takes the subject; nothing was stored.
        JetStreamError: refused; nothing was stored.
        TimeoutError, nats.errors.Error: unknown whether it was stored.
    """
    expected = {"Nats-Expected-Last-Sequence": str(expected_last_sequence)}
    *before, (subject, data, headers) = messages
    commit = dict(headers)
    if before:
        batch = {"Nats-Batch-Id": batch_id}
        first = _header_lines(batch | expected)
        others = _header_lines(batch)
        # The client's own publish spends most of its time on checking each header.
        commands = [
            _publish_command(s, d, h, first if index == 1 else others, index)
            for index, (s, d, h) in enumerate(before, start=1)
        ]
        if not client.is_connected:
            raise ConnectionClosedError
        await client._send_command(b"".join(commands))
        commit |= batch | {"Nats-Batch-Sequence": str(len(messages)), "Nats-Batch-Commit": "1"}
    else:
        commit |= expected
    try:
        answer = await client.request(subject, data, _TIMEOUT, headers=commit)
    except NoRespondersError as error:
        raise StreamGone(404, STREAM_NOT_FOUND, "no stream takes the subject") from error
    return _acknowledged(answer)


def _header_lines(headers: Mapping[str, str]) -> str:
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


def _publish_command(
    subject: str, data: bytes, headers: Mapping[str, str], batch: str, index: int
) -> bytes:
    """HPUB of the NATS client protocol, without a reply subject."""
    lines = _header_lines(headers)
    block = f"NATS/1.0\r\n{lines}{batch}Nats-Batch-Sequence: {index}\r\n\r\n".encode()
    size = len(block)
    return b"HPUB %b %d %d\r\n%b%b\r\n" % (
        subject.encode(),
        size,
        size + len(data),
        block,
        data,
    )


def _acknowledged(answer: Msg) -> int:
    parsed = json.loads(answer.data)
    if "error" in parsed:
        _raise(parsed["error"])
    return int(parsed["seq"])


async def create_consumer(
    client: Client, stream: str, name: str, subjects: Iterable[str], start: int | None
) -> Mapping[str, Any]:
    """An ephemeral, in-memory, ack-less pull consumer; `start` None is the oldest message. Returns
    what the server says of it.

    Raises:
        StreamGone: there is no such stream.
    """
    config: dict[str, Any] = {
        "name": name,
        "ack_policy": "none",
        "deliver_policy": "all" if start is None else "by_start_sequence",
        "filter_subjects": list(subjects),
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": 30_000_000_000,
        "max_waiting": 8,
    }
    if start is not None:
        config["opt_start_seq"] = max(1, start)
    made: Mapping[str, Any] = await api(
        client,
        f"CONSUMER.CREATE.{stream}.{name}",
        {"stream_name": stream, "config": config, "action": "create"},
    )
    return made


async def count_from(client: Client, stream: str, subject: str, sequence: int) -> int:
    """Messages of a subject, wildcards allowed, that a stream holds from a sequence on.

    Raises:
        StreamGone: there is no such stream.
    """
    name = f"n{uuid7().replace('-', '')}"
    made = await create_consumer(client, stream, name, [subject], sequence)
    await delete_consumer(client, stream, name)
    return int(made["num_pending"])


async def delete_consumer(client: Client, stream: str, name: str) -> None:
    """Let the server forget a consumer at once; it would by itself after a while."""
    with contextlib.suppress(Exception):
        await asyncio.wait_for(api(client, f"CONSUMER.DELETE.{stream}.{name}"), 1)
