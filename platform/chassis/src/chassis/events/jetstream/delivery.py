"""Messages of a subscription that are handed over as they are read, without a queue and a task.

The NATS library builds a message in a state machine, puts it into the queue of its subscription,
and lets a task of the subscription take it out. A consumer that gets thousands of events pays more
for that than for what it does with most of them.
"""

from collections.abc import Awaitable, Callable
from typing import NamedTuple

from nats.aio.client import Client
from nats.errors import ProtocolError
from nats.protocol.parser import AWAITING_CONTROL_LINE, CRLF_SIZE, Parser

from chassis.events.jetstream.header_block import parse_header_block
from chassis.events.wire import event_headers

__all__ = ["COPY_OF_A_COPY", "Delivery", "DeliveryParser", "Receive", "note_copy_of_a_copy"]

COPY_OF_A_COPY = "slipway-copy-of-a-copy"
"""Header of a message that was read from a stream and was stored there as a copy already."""
_COPIED_FROM = f"\r\n{event_headers.COPIED_FROM}:".encode()
_PLAIN = b"NATS/1.0\r\n"
# The subject, the id of the subscription, a reply subject if there is one, and sizes.
_WORDS = {b"MSG": 3, b"HMSG": 4}
# A larger message is left to the library, which does not copy what has come of it each time.
_MOST_KEPT = 256 * 1024


class Delivery(NamedTuple):
    """A message. `size` is that of headers and data, in bytes."""

    subject: str
    reply: str
    headers: dict[str, str]
    data: bytes
    size: int


Receive = Callable[[Delivery], None]
"""Takes a message. It must not raise, since that would end the reading of the connection."""


def note_copy_of_a_copy(headers: dict[str, str], block: bytes) -> None:
    """Note a second mark of a copy, because only one value of each header is kept."""
    if block.count(_COPIED_FROM) > 1:
        headers[COPY_OF_A_COPY] = "1"


class DeliveryParser(Parser):
    """A parser of the NATS client protocol.

    Messages of subscriptions in `receivers`, by their ids, go to their receivers; everything else
    goes the library's way. `headers_of` parses a block of headers with a status of the server. All
    messages of a subscription go the same way, so that they keep their order.

    Source: https://docs.nats.io/reference/reference-protocols/nats-protocol
    """

    def __init__(
        self, client: Client, headers_of: Callable[[bytes], Awaitable[dict[str, str]]]
    ) -> None:
        super().__init__(client)
        self._headers_of = headers_of
        self.receivers: dict[int, Receive] = {}

    async def parse(self, data: bytes = b"") -> None:
        """Parse what was read from the connection.

        Raises:
            nats.errors.ProtocolError: it does not follow the protocol.
        """
        if not self.receivers:
            await super().parse(data)
            return
        begin = 0
        if self.state != AWAITING_CONTROL_LINE:
            # The library has begun to read this message.
            begin = self.needed + CRLF_SIZE - len(self.buf)
            await super().parse(data[:begin])
        elif self.buf:
            data = bytes(self.buf) + data
            self.buf.clear()
        while begin < len(data):
            end = await self._parse_one(data, begin)
            if end == begin:
                break
            begin = end
        self.buf.extend(data[begin:])

    async def _parse_one(self, data: bytes, begin: int) -> int:
        """Parse the command that begins here; return its end, or `begin` if it is incomplete."""
        line_end = data.find(b"\r\n", begin)
        if line_end < 0:
            return begin
        operation, *words = data[begin:line_end].split() or (b"",)
        end = line_end + CRLF_SIZE
        if operation in _WORDS:
            if not 0 <= len(words) - _WORDS[operation] <= 1:
                raise ProtocolError("nats: malformed MSG")
            try:
                id, size = int(words[1]), int(words[-1])
            except ValueError as error:
                raise ProtocolError("nats: malformed MSG") from error
            end += size + CRLF_SIZE
            if end > len(data):
                if end - begin <= _MOST_KEPT:
                    return begin
                end = len(data)
            elif operation == b"HMSG" and (receive := self.receivers.get(id)) is not None:
                await self._deliver(receive, words, data[line_end + CRLF_SIZE : end - CRLF_SIZE])
                return end
        await super().parse(data[begin:end])
        return end

    async def _deliver(self, receive: Receive, words: list[bytes], content: bytes) -> None:
        """Hand over a message, whose content is a block of headers and data."""
        try:
            header_size = int(words[-2])
            subject, reply = words[0].decode(), words[2].decode() if len(words) == 5 else ""
        except ValueError as error:
            raise ProtocolError("nats: malformed HMSG") from error
        block = content[:header_size]
        if block.startswith(_PLAIN):
            headers = parse_header_block(block[len(_PLAIN) :])
            note_copy_of_a_copy(headers, block)
        else:  # A status of the server.
            headers = await self._headers_of(block)
        receive(Delivery(subject, reply, headers, content[header_size:], len(content)))
