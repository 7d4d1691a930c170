"""Messages that are handed over as they are read are those that the library would deliver."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nats.aio.client import Client
from nats.errors import ProtocolError

from chassis.events.jetstream import delivery
from chassis.events.jetstream.client import JetStreamClient
from chassis.events.jetstream.delivery import COPY_OF_A_COPY, Delivery, Receive
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.wire import event_headers

pytestmark = pytest.mark.unit

RECEIVED, QUEUED = 1, 2
Seen = tuple[object, ...]


class _Noting:
    """A client that notes the commands that it reads, in order."""

    _process_headers: Any
    _ps: Any

    def __init__(self, *arguments: Any) -> None:
        super().__init__(*arguments)
        self.seen: list[Seen] = []

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        parsed = await self._process_headers(headers) or {}
        size = len(data) + len(headers or b"")
        self.seen.append((sid, subject.decode(), reply.decode(), parsed, data, size))

    async def _process_ping(self) -> None:
        self.seen.append(("PING",))

    async def read(self, data: bytes) -> None:
        await self._ps.parse(data)


class Library(_Noting, Client):
    """The library's client."""


class Ours(_Noting, JetStreamClient):
    """Our client, which hands over the messages of one subscription."""

    def __init__(self) -> None:
        super().__init__(NatsOptions("nats://127.0.0.1"))
        self.parser.receivers[RECEIVED] = lambda read: self.seen.append((RECEIVED, *read))

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        if sid == RECEIVED:  # It is noted by its receiver.
            await super(_Noting, self)._process_msg(sid, subject, reply, data, headers)
        else:
            await super()._process_msg(sid, subject, reply, data, headers)


def message(sid: int, reply: bytes, headers: bytes, data: bytes) -> bytes:
    """Return the command of a message."""
    words = [b"shop.v1.Sold.7", str(sid).encode(), *([reply] if reply else [])]
    words = [b"HMSG", *words, str(len(headers)).encode()] if headers else [b"MSG", *words]
    size = str(len(headers) + len(data)).encode()
    return b" ".join([*words, size]) + b"\r\n" + headers + data + b"\r\n"


def block(headers: dict[str, str]) -> bytes:
    """Return a block of headers."""
    lines = "".join(f"{name}:{value}\r\n" for name, value in headers.items())
    return b"NATS/1.0\r\n" + lines.encode() + b"\r\n"


sids = st.sampled_from([RECEIVED, QUEUED])
replies = st.sampled_from([b"", b"$JS.ACK.s.c.1.17.17.1790000000000000000.0"])
values = st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12)
blocks = st.one_of(
    st.just(b""),
    st.sampled_from(
        [
            b"NATS/1.0 404 No Messages\r\n\r\n",
            b"NATS/1.0 100 Idle Heartbeat\r\nNats-Last-Consumer: 7\r\n\r\n",
            b"NATS/1.0 408\r\n\r\n",
        ]
    ),
    st.dictionaries(st.sampled_from(["ce-id", "Ce-Type", "content-type"]), values).map(block),
)
data = st.one_of(st.binary(max_size=40), st.just(b"PING\r\nMSG a 1 2\r\n"))
commands = st.one_of(
    st.sampled_from([b"PING\r\n", b"PONG\r\n", b"+OK\r\n"]),
    st.builds(message, sids, replies, blocks, data),
)


async def read(client: "Library | Ours", chunks: Sequence[bytes]) -> list[Seen]:
    """Return what a client has seen in what it read in these chunks."""
    for chunk in chunks:
        await client.read(chunk)
    return client.seen


def split(stream: bytes, places: Sequence[int]) -> list[bytes]:
    """Return a stream in chunks that end at these places."""
    ends = sorted({place % (len(stream) + 1) for place in places} | {len(stream)})
    return [stream[begin:end] for begin, end in zip([0, *ends], ends, strict=False)]


@given(st.lists(commands, max_size=8), st.lists(st.integers(0, 2000), max_size=6))
def test_every_message_arrives_in_order_as_the_library_reads_it(
    sent: list[bytes], places: list[int]
) -> None:
    async def compare() -> None:
        chunks = split(b"".join(sent), places)
        assert await read(Ours(), chunks) == await read(Library(), chunks)

    asyncio.run(compare())


@pytest.mark.parametrize("kept", [10, 1000])
async def test_a_large_message_arrives_whole_between_others(
    kept: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivery, "_MOST_KEPT", kept)
    headers = block({"ce-id": "7"})
    stream = b"".join(message(RECEIVED, b"", headers, bytes([n]) * 500) for n in range(5))
    chunks = [stream[begin : begin + 64] for begin in range(0, len(stream), 64)]
    seen = await read(Ours(), chunks)
    assert [one[4] for one in seen] == [bytes([n]) * 500 for n in range(5)]
    assert seen == await read(Library(), chunks)


@pytest.mark.parametrize(
    "line",
    [
        b"HMSG\r\n",
        b"HMSG a 1 x\r\n",
        b"HMSG a x 12 12\r\n",
        b"HMSG a 1 y 2\r\nxx\r\n",
        b"HMSG \xff 1 2 2\r\nxx\r\n",
        b"MSG a 1\r\n",
        b"HELLO\r\n",
        b"\r\n",
    ],
)
async def test_what_breaks_the_protocol_is_an_error_of_the_protocol(line: bytes) -> None:
    with pytest.raises(ProtocolError):
        await read(Ours(), [line])


async def test_a_second_mark_of_a_copy_is_noted() -> None:
    mark = f"{event_headers.COPIED_FROM}:1\r\n"
    for marks, noted in ((1, None), (2, "1")):
        headers = f"NATS/1.0\r\n{mark * marks}\r\n".encode()
        ((_, _, _, parsed, _, _),) = await read(Ours(), [message(RECEIVED, b"", headers, b"")])
        assert isinstance(parsed, dict)
        assert parsed.get(COPY_OF_A_COPY) == noted


async def test_messages_after_the_end_of_a_subscription_are_dropped() -> None:
    client = JetStreamClient(NatsOptions("nats://127.0.0.1"))
    seen: list[Delivery] = []
    receive: Receive = seen.append
    client.parser.receivers[RECEIVED] = receive
    headers = block({"ce-id": "7"})
    await client.parser.parse(message(RECEIVED, b"", headers, b"one"))
    del client.parser.receivers[RECEIVED]
    await client.parser.parse(message(RECEIVED, b"", headers, b"two"))
    assert [one.data for one in seen] == [b"one"]
