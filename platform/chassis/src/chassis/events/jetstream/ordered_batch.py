"""Ordered batches: a stream stores their messages in order, and none from a refused one on.

One answer tells how many were stored and why the next one was not. This is the fast-ingest
batch publish of ADR-50 with gap mode `fail`: nats-server 2.14 or newer, and a stream with
`allow_batched`.
"""

import asyncio
import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass

from nats.errors import NoRespondersError

from chassis.events.jetstream.api import (
    STREAM_NOT_FOUND,
    TIMEOUT_SECONDS,
    BatchIncomplete,
    JetStreamError,
    StreamGone,
    error_of,
    parse_answer,
)
from chassis.events.jetstream.client import JetStreamClient
from chassis.events.jetstream.delivery import Delivery
from chassis.events.jetstream.header_block import parse_header_block

__all__ = ["BATCH_MAX", "BatchPublisher", "Message", "Stored"]

BATCH_MAX = 1000
"""Maximum number of messages in a batch, which is written to the connection at once."""
Message = tuple[str, bytes, bytes]
"""Subject, data and header lines. Each line ends with CRLF; the lines are not checked."""

_EXPECTED = b"Nats-Expected-Last-Sequence: %d\r\n"
# The server reports its progress after this number of messages, the greatest that it accepts. Only
# the answer to the whole batch is needed.
_MESSAGES_AN_ACK = 500
# Reply subjects name the batch, this interval, the gap mode, the message's number in the batch and
# what it is to the batch. All publishers of a stream share the names of batches.
_FIRST, _FURTHER, _END = 0, 1, 3
_NO_STREAM = "no stream has the subject"


@dataclass(frozen=True, slots=True)
class Stored:
    """The part of a batch that the stream has stored: its first `count` messages.

    `sequence` is the stream's sequence of the last of them; without any, the one that was expected.
    `error` tells why the stream refused the next message. It is None if all are stored, or if the
    next message has not come to the stream.
    """

    count: int
    sequence: int
    error: JetStreamError | None = None


class BatchPublisher:
    """Publishes batches over one connection, one after another."""

    def __init__(self, client: JetStreamClient) -> None:
        self.client = client
        self._inbox = client.new_inbox()
        self._listens = False
        self._answers: _Answers | None = None

    async def publish(self, messages: Sequence[Message], expected_last_sequence: int) -> Stored:
        """Store messages in order, if the stream ends at a sequence; return what it has stored.

        Each message names the sequence at which it expects the stream to end. So no message of
        another publisher comes between two of a batch, and none is stored twice.

        Raises:
            BatchIncomplete: the server has lost the batch; unknown what was stored.
            TimeoutError, nats.errors.Error: unknown what was stored.
        """
        if len(messages) == 1:
            return await self._publish_one(messages[0], expected_last_sequence)
        if not self._listens:
            await self.client.receive(f"{self._inbox}.>", self._take)
            self._listens = True
        reply = f"{self._inbox}.{secrets.token_hex(8)}.{_MESSAGES_AN_ACK}.fail."
        answers = self._answers = _Answers(reply, len(messages), expected_last_sequence)
        commands = _commands(messages, expected_last_sequence, reply.encode())
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                await self.client.send_commands(commands)
                return await answers.stored
        finally:
            self._answers = None

    async def _publish_one(self, message: Message, expected_last_sequence: int) -> Stored:
        subject, data, lines = message
        headers = parse_header_block(lines + _EXPECTED % expected_last_sequence)
        try:
            answer = await self.client.request(subject, data, TIMEOUT_SECONDS, headers=headers)
            return Stored(1, int(parse_answer(answer)["seq"]))
        except NoRespondersError:
            gone = StreamGone(404, STREAM_NOT_FOUND, _NO_STREAM)
            return Stored(0, expected_last_sequence, gone)
        except JetStreamError as error:
            return Stored(0, expected_last_sequence, error)

    def _take(self, delivery: Delivery) -> None:
        """Take an answer. One to an earlier batch is late, and ignored."""
        if self._answers is not None:
            self._answers.take(delivery)


class _Answers:
    """The answers to the messages of one batch; `stored` is set by the one that ends it."""

    def __init__(self, reply: str, messages: int, expected_last_sequence: int) -> None:
        self._reply = reply
        self._messages = messages
        self._expected = expected_last_sequence
        # Why messages were refused, by their numbers. Answers do not come in this order.
        self._errors: dict[int, JetStreamError] = {}
        self.stored: asyncio.Future[Stored] = asyncio.get_running_loop().create_future()

    def take(self, delivery: Delivery) -> None:
        """Take an answer to one of the messages."""
        if self.stored.done() or not delivery.subject.startswith(self._reply):
            return
        message = int(delivery.subject[len(self._reply) :].partition(".")[0])
        if delivery.headers.get("Status") == "503":
            self._refused(message, StreamGone(404, STREAM_NOT_FOUND, _NO_STREAM))
            return
        answer = json.loads(delivery.data)
        if error := answer.get("error"):
            self._refused(message, error_of(error))
        elif "batch" in answer:
            self._ended(int(answer["count"]), int(answer["seq"]))

    def _refused(self, message: int, error: JetStreamError) -> None:
        """Note why a message was refused; the end of the batch tells how many before it are stored.

        There is no end to a batch that has not begun, and none if the end itself is refused.
        """
        self._errors.setdefault(message, error)
        if message == 1:
            self.stored.set_result(Stored(0, self._expected, error))
        elif message > self._messages:
            first = self._errors[min(self._errors)]
            told = BatchIncomplete(first.code, first.error_code, first.description)
            self.stored.set_exception(told)

    def _ended(self, count: int, sequence: int) -> None:
        refused = any(message <= count for message in self._errors)
        if count == 0 or refused or sequence != self._expected + count:
            told = f"{count} messages stored, the last at {sequence}"
            self.stored.set_exception(BatchIncomplete(500, 0, told))
        else:
            self.stored.set_result(Stored(count, sequence, self._errors.get(count + 1)))


def _commands(messages: Sequence[Message], expected: int, reply: bytes) -> bytes:
    """Return the commands of the NATS client protocol that publish a batch.

    They are built here because the client's own publish spends most of its time on checking each
    header.
    """
    parts: list[bytes] = []
    kind = _FIRST
    for number, (subject, data, lines) in enumerate(messages, start=1):
        block = b"NATS/1.0\r\n%bNats-Expected-Last-Sequence: %d\r\n\r\n" % (lines, expected)
        size = len(block)
        parts += (
            b"HPUB %b %b%d.%d.$FI %d %d\r\n"
            % (subject.encode(), reply, number, kind, size, size + len(data)),
            block,
            data,
            b"\r\n",
        )
        expected += 1
        kind = _FURTHER
    # The end is a message of its own, which is not stored. A refused message would end nothing.
    end = messages[0][0].encode(), reply, len(messages) + 1, _END
    parts.append(b"PUB %b %b%d.%d.$FI 0\r\n\r\n" % end)
    return b"".join(parts)
