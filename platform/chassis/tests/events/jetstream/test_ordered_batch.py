"""A batch is stored in order, up to the first message that the stream refuses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import nats as nats_py
import pytest
from bookshop import eventually
from nats.aio.client import Client
from nats.aio.msg import Msg
from proxy import Proxy
from round_trips import BrokerRequests

from chassis.events.jetstream.api import (
    BatchesRefused,
    BatchIncomplete,
    StreamGone,
    WrongLastSequence,
    api_request,
)
from chassis.events.jetstream.client import JetStreamClient
from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.jetstream.ordered_batch import BATCH_MAX, BatchPublisher, Message, Stored
from chassis.events.jetstream.stored_messages import read_from
from chassis.events.jetstream.streams import stream_state
from localservers import NatsServer

TOO_LARGE = 10054
CONFIG = {
    "name": "shop",
    "subjects": ["shop.>"],
    "storage": "file",
    "allow_batched": True,
    "allow_direct": True,
    "max_msg_size": 1000,
}


def messages(count: int, begin: int = 0) -> list[Message]:
    return [(f"shop.{n % 7}", str(n).encode(), b"a: b\r\n") for n in range(begin, begin + count)]


def too_large(number: int) -> Message:
    return (f"shop.{number % 7}", b"x" * 2000, b"")


@asynccontextmanager
async def publishing(
    nats: NatsServer, url: str | None = None, **changes: Any
) -> AsyncIterator[BatchPublisher]:
    """Yield a publisher next to a stream that accepts messages of up to 1,000 bytes."""
    async with connection(NatsOptions(url or nats.url), "test") as client:
        await api_request(client, "STREAM.CREATE.shop", CONFIG | changes)
        yield BatchPublisher(client)


async def stored_data(client: JetStreamClient) -> list[bytes]:
    """Return the data of all messages of the stream, in its order."""
    end = (await stream_state(client, "shop")).last_sequence
    found: list[bytes] = []
    if end == 0:
        return found
    async for stored in read_from(client, "shop", 1):
        found.append(stored.data)
        if stored.sequence == end:
            break
    return found


async def stored_up_to(client: Client, sequence: int) -> None:
    """Wait until the stream ends at this sequence."""

    async def ends_there() -> bool:
        return (await stream_state(client, "shop")).last_sequence == sequence

    await eventually(ends_there)


async def test_batches_of_any_size_are_stored_in_order(nats: NatsServer) -> None:
    async with publishing(nats) as publisher:
        end = 0
        for count in (2, 1, 3, 501, BATCH_MAX):
            sent = messages(count, begin=end)
            assert await publisher.publish(sent, end) == Stored(count, end + count)
            end += count
        assert await stored_data(publisher.client) == [str(n).encode() for n in range(end)]


async def test_a_batch_costs_its_messages_and_one_that_ends_it(nats: NatsServer) -> None:
    requests = BrokerRequests()
    async with (
        Proxy(nats.port, tap=requests.connection) as proxy,
        publishing(nats, proxy.url) as publisher,
    ):
        await publisher.publish(messages(2), 0)
        before = len(requests.published)
        await publisher.publish(messages(5), 2)
        # The end of the batch is a message that is not stored.
        assert len(requests.published) - before == 5 + 1


@pytest.mark.parametrize("refused", [0, 1, 4, 9], ids="message {}".format)
async def test_the_messages_before_a_refused_one_are_stored_and_none_after_it(
    nats: NatsServer, refused: int
) -> None:
    async with publishing(nats) as publisher:
        sent = messages(10)
        sent[refused] = too_large(refused)
        stored = await publisher.publish(sent, 0)
        assert (stored.count, stored.sequence) == (refused, refused)
        assert stored.error is not None
        assert stored.error.error_code == TOO_LARGE
        assert await stored_data(publisher.client) == [data for _, data, _ in sent[:refused]]
        # The connection can be used for the next batch.
        assert await publisher.publish(messages(3), refused) == Stored(3, refused + 3)


async def test_the_first_of_several_refused_messages_gives_the_reason(nats: NatsServer) -> None:
    async with publishing(nats) as publisher:
        sent = [*messages(3), too_large(3), ("elsewhere.1", b"", b""), too_large(5)]
        stored = await publisher.publish(sent, 0)
        assert stored.count == 3
        assert stored.error is not None
        assert stored.error.error_code == TOO_LARGE


async def test_nothing_is_stored_after_another_end_of_the_stream(nats: NatsServer) -> None:
    """A later message may expect the sequence at which the stream really ends."""
    async with publishing(nats) as publisher:
        await publisher.publish(messages(3), 0)
        for count in (1, 10):
            stored = await publisher.publish(messages(count), 0)
            assert (stored.count, stored.sequence) == (0, 0)
            assert isinstance(stored.error, WrongLastSequence)
            assert stored.error.last_sequence == 3
        assert len(await stored_data(publisher.client)) == 3


async def test_another_publishers_message_ends_a_batch_in_the_middle(nats: NatsServer) -> None:
    async with (
        Proxy(nats.port) as proxy,
        publishing(nats, proxy.url) as publisher,
        await nats_py.connect(nats.url) as other,
    ):
        held = proxy.hold_at("to_server", b".6.1.$FI ")
        publish = asyncio.create_task(publisher.publish(messages(10), 0))
        await held.wait()
        await stored_up_to(other, 5)
        await other.request("shop.1", b"from another publisher")
        proxy.release()
        stored = await publish
        assert (stored.count, stored.sequence) == (5, 5)
        assert isinstance(stored.error, WrongLastSequence)
        assert stored.error.last_sequence == 6


async def test_a_subject_that_the_stream_lacks_ends_a_batch(nats: NatsServer) -> None:
    async with publishing(nats) as publisher:
        for place in (0, 3, 5):
            sent = messages(6)
            sent[place] = ("elsewhere.1", b"", b"")
            end = (await stream_state(publisher.client, "shop")).last_sequence
            stored = await publisher.publish(sent, end)
            assert (stored.count, stored.sequence) == (place, end + place)
            assert isinstance(stored.error, StreamGone)


async def test_a_message_without_a_stream_is_refused(nats: NatsServer) -> None:
    async with publishing(nats) as publisher:
        await api_request(publisher.client, "STREAM.DELETE.shop")
        for count in (1, 5):
            stored = await publisher.publish(messages(count), 0)
            assert stored.count == 0
            assert isinstance(stored.error, StreamGone)


async def test_a_stream_without_batches_takes_single_messages(nats: NatsServer) -> None:
    async with publishing(nats, allow_batched=False) as publisher:
        stored = await publisher.publish(messages(2), 0)
        assert stored.count == 0
        assert isinstance(stored.error, BatchesRefused)
        assert await publisher.publish(messages(1), 0) == Stored(1, 1)


async def test_a_stream_recreated_within_a_batch_stores_none_of_its_rest(nats: NatsServer) -> None:
    """The stream that has lost the first messages knows nothing of the batch."""
    async with (
        Proxy(nats.port) as proxy,
        publishing(nats, proxy.url) as publisher,
        connection(NatsOptions(nats.url), "operator") as operator,
    ):
        held = proxy.hold_at("to_server", b".6.1.$FI ")
        publish = asyncio.create_task(publisher.publish(messages(10), 0))
        await held.wait()
        await stored_up_to(operator, 5)
        await api_request(operator, "STREAM.DELETE.shop")
        await api_request(operator, "STREAM.CREATE.shop", CONFIG)
        proxy.release()
        with pytest.raises(BatchIncomplete):
            await publish
        assert (await stream_state(operator, "shop")).last_sequence == 0


async def test_a_count_that_includes_a_refused_message_is_not_believed(nats: NatsServer) -> None:
    """A broker of several servers may find out late that it cannot store a message."""

    async def answer(message: Msg) -> None:
        number, kind = message.reply.split(".")[-3:-1]
        if number == "2":
            await message.respond(b'{"error": {"code": 503, "err_code": 10077}}')
        elif kind == "3":
            await message.respond(b'{"stream": "shop", "seq": 3, "batch": "1", "count": 3}')

    async with (
        connection(NatsOptions(nats.url), "test") as client,
        await nats_py.connect(nats.url) as broker,
    ):
        await broker.subscribe("shop.>", cb=answer)
        await broker.flush()
        with pytest.raises(BatchIncomplete):
            await BatchPublisher(client).publish(messages(3), 0)


async def test_a_late_answer_to_an_earlier_batch_is_ignored(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Proxy(nats.port) as proxy, publishing(nats, proxy.url) as publisher:
        proxy.hold("to_client")
        with monkeypatch.context() as patch:
            patch.setattr("chassis.events.jetstream.ordered_batch.TIMEOUT_SECONDS", 0.05)
            with pytest.raises(TimeoutError):
                await publisher.publish(messages(4), 0)
        proxy.release()
        assert await publisher.publish(messages(3), 4) == Stored(3, 7)
