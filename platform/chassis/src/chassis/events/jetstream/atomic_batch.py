"""Atomic batches: messages that a stream stores all or not at all (ADR-50)."""

from collections.abc import Mapping, Sequence

from nats.errors import NoRespondersError

from chassis.events.jetstream.api import (
    STREAM_NOT_FOUND,
    TIMEOUT_SECONDS,
    StreamGone,
    parse_answer,
)
from chassis.events.jetstream.client import JetStreamClient

__all__ = ["BATCH_MAX", "publish_batch"]

BATCH_MAX = 1000
"""Maximum number of messages in a batch, by the server's limit."""


async def publish_batch(
    client: JetStreamClient,
    batch_id: str,
    messages: Sequence[tuple[str, bytes, Mapping[str, str]]],
    expected_last_sequence: int,
) -> int:
    """Store messages (subject, data, headers) all or not at all; return the last one's sequence.

    The headers must hold no line breaks: they are not checked. A batch takes one round trip,
    because the server reports what it refuses in any message as the answer to the last one.

    Raises:
        WrongLastSequence: the stream does not end at `expected_last_sequence`; nothing was stored.
        BatchIncomplete: the stream lacks one of the subjects; nothing was stored.
        StreamGone: no stream has the subject; nothing was stored.
        JetStreamError: the server refused; nothing was stored.
        TimeoutError, nats.errors.Error: unknown whether it was stored.
    """
    expected = {"Nats-Expected-Last-Sequence": str(expected_last_sequence)}
    *before, (subject, data, headers) = messages
    commit = dict(headers)
    if before:
        batch = {"Nats-Batch-Id": batch_id}
        first = _header_lines(batch | expected)
        others = _header_lines(batch)
        # The commands are built here because the client's own publish spends most of its time on
        # checking each header.
        commands = [
            _publish_command(s, d, h, first if index == 1 else others, index)
            for index, (s, d, h) in enumerate(before, start=1)
        ]
        await client.send_commands(b"".join(commands))
        commit |= batch | {"Nats-Batch-Sequence": str(len(messages)), "Nats-Batch-Commit": "1"}
    else:
        commit |= expected
    try:
        answer = await client.request(subject, data, TIMEOUT_SECONDS, headers=commit)
    except NoRespondersError as error:
        raise StreamGone(404, STREAM_NOT_FOUND, "no stream has the subject") from error
    return int(parse_answer(answer)["seq"])


def _header_lines(headers: Mapping[str, str]) -> str:
    return "".join([f"{name}: {value}\r\n" for name, value in headers.items()])


def _publish_command(
    subject: str, data: bytes, headers: Mapping[str, str], batch: str, index: int
) -> bytes:
    """Return an HPUB of the NATS client protocol, without a reply subject."""
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
