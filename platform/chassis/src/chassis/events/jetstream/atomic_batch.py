"""Atomic batches: messages that a stream stores all or not at all (ADR-50)."""

from collections.abc import Sequence

from nats.errors import NoRespondersError

from chassis.events.jetstream.api import (
    STREAM_NOT_FOUND,
    TIMEOUT_SECONDS,
    StreamGone,
    parse_answer,
)
from chassis.events.jetstream.client import JetStreamClient
from chassis.events.jetstream.header_block import parse_header_block

__all__ = ["BATCH_MAX", "publish_batch"]

BATCH_MAX = 1000
"""Maximum number of messages in a batch, by the server's limit."""


async def publish_batch(
    client: JetStreamClient,
    batch_id: str,
    messages: Sequence[tuple[str, bytes, bytes]],
    expected_last_sequence: int,
) -> int:
    """Store messages (subject, data, header lines) all or none; return the last one's sequence.

    Each header line ends with CRLF: the lines are not checked. A batch takes one round trip,
    because the server reports what it refuses in any message as the answer to the last one.

    Raises:
        WrongLastSequence: the stream does not end at `expected_last_sequence`; nothing was stored.
        BatchIncomplete: the stream lacks one of the subjects; nothing was stored.
        StreamGone: no stream has the subject; nothing was stored.
        JetStreamError: the server refused; nothing was stored.
        TimeoutError, nats.errors.Error: unknown whether it was stored.
    """
    expected = f"Nats-Expected-Last-Sequence: {expected_last_sequence}\r\n".encode()
    *before, (subject, data, lines) = messages
    if before:
        batch = f"Nats-Batch-Id: {batch_id}\r\n".encode()
        # The commands are built here because the client's own publish spends most of its time on
        # checking each header.
        commands: list[bytes] = []
        added = batch + expected
        for index, message in enumerate(before, start=1):
            commands += _publish_command(*message, added, index)
            added = batch
        await client.send_commands(b"".join(commands))
        lines += b"%bNats-Batch-Sequence: %d\r\nNats-Batch-Commit: 1\r\n" % (batch, len(messages))
    else:
        lines += expected
    try:
        answer = await client.request(
            subject, data, TIMEOUT_SECONDS, headers=parse_header_block(lines)
        )
    except NoRespondersError as error:
        raise StreamGone(404, STREAM_NOT_FOUND, "no stream has the subject") from error
    return int(parse_answer(answer)["seq"])


def _publish_command(
    subject: str, data: bytes, lines: bytes, batch: bytes, index: int
) -> tuple[bytes, ...]:
    """Return the parts of an HPUB of the NATS client protocol, without a reply subject."""
    block = b"NATS/1.0\r\n%b%bNats-Batch-Sequence: %d\r\n\r\n" % (lines, batch, index)
    size = len(block)
    return f"HPUB {subject} {size} {size + len(data)}\r\n".encode(), block, data, b"\r\n"
