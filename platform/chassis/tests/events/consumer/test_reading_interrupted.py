"""A reader that is interrupted in any way starts again from its positions."""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from bookshop import Node, TestSettings, accountant, eventually, sold
from fake_producer import FakeProducer
from nats.aio.client import Client
from proxy import Proxy
from reading import has_taken, taken_ids
from relaying import Shop, StreamView, in_order, once
from structlog.testing import capture_logs

from chassis.events.consumer import backlog, pull, reader
from chassis.events.jetstream import api, streams
from chassis.events.jetstream.api import JetStreamError
from chassis.events.wire import event_headers
from localservers import NatsServer


async def consumers(view: StreamView) -> list[str]:
    return list((await view.api("CONSUMER.NAMES.bookstore"))["consumers"])


async def test_a_consumer_that_was_deleted_on_the_server_is_recreated(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    view, url = StreamView(nats.url), new_database("books")
    # The test excludes the other ways to notice it, silence and the safety net.
    monkeypatch.setattr(pull, "HEARTBEAT_SECONDS", 60)
    monkeypatch.setattr(pull, "EXPIRES_SECONDS", 300)
    settings = TestSettings(net_seconds=300)
    async with (
        Node("books", url, nats.url, router=accountant(), settings=settings) as books,
        Shop(new_database("shop")) as shop,
    ):
        shop.start_relay(nats.url)
        for start in range(0, 120, 40):
            await shop.sell(range(start, start + 20))
            await has_taken(books, start + 20)
            for name in await consumers(view):
                await view.api(f"CONSUMER.DELETE.bookstore.{name}")
            await shop.sell(range(start + 20, start + 40))
            await has_taken(books, start + 40)
        assert in_order(await taken_ids(books), shop.published)


async def test_a_pull_request_that_was_lost_is_noticed_by_missing_heartbeats(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "HEARTBEAT_SECONDS", 0.2)
    request = pull.request_messages
    consumers_asked: list[str] = []

    async def lose_the_first(client: Client, stream: str, consumer: str, *arguments: Any) -> None:
        if consumers_asked:
            await request(client, stream, consumer, *arguments)
        consumers_asked.append(consumer)

    monkeypatch.setattr(pull, "request_messages", lose_the_first)
    # The safety net is excluded as the way to notice it.
    settings = TestSettings(net_seconds=300)
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(40))
        await shop.sent()
        async with Node(
            "books", new_database("books"), nats.url, router=accountant(), settings=settings
        ) as books:
            await has_taken(books, 40)
    assert consumers_asked[1] != consumers_asked[0]


async def test_connections_cut_between_and_within_messages_neither_lose_nor_double_events(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # A request whose answer was cut off must fail soon.
    monkeypatch.setattr(api, "TIMEOUT_SECONDS", 1)
    async with Proxy(nats.port) as proxy, Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        settings = TestSettings(batch_max_events=20)
        async with Node(
            "books", new_database("books"), proxy.url, router=accountant(), settings=settings
        ) as books:
            for start, marker in enumerate([b"HMSG", b"ce-sequence", b"slipway-generation"]):
                cut = asyncio.Event()
                proxy.when("to_client", marker, once(partial(_cut, proxy, cut)))
                await shop.sell(range(start * 60, start * 60 + 60), at_once=10)
                await cut.wait()
            await has_taken(books, 180)
            assert in_order(await taken_ids(books), shop.published)


def _cut(proxy: Proxy, cut: asyncio.Event) -> None:
    proxy.cut()
    cut.set()


async def test_a_stalled_connection_is_waited_for(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pull, "HEARTBEAT_SECONDS", 0.2)
    monkeypatch.setattr(api, "TIMEOUT_SECONDS", 0.3)
    failed = asyncio.Event()

    async def stream_state(*arguments: Any) -> Any:
        try:
            return await streams.stream_state(*arguments)
        except TimeoutError:
            failed.set()
            raise

    monkeypatch.setattr(reader, "stream_state", stream_state)
    async with Proxy(nats.port) as proxy, Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        async with Node("books", new_database("books"), proxy.url, router=accountant()) as books:
            await shop.sell(range(40))
            await has_taken(books, 40)
            proxy.hold("to_client")
            await shop.sell(range(40, 80))
            # The consumer was silent, and no new one can be created.
            await failed.wait()
            proxy.release()
            await has_taken(books, 80)
            assert in_order(await taken_ids(books), shop.published)


async def test_a_broker_killed_in_mid_batch_changes_nothing(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    settings = TestSettings(batch_max_events=25)
    async with (
        Node(
            "books", new_database("books"), nats.url, router=accountant(), settings=settings
        ) as books,
        Shop(new_database("shop")) as shop,
    ):
        relay = shop.start_relay(nats.url)
        await shop.sell(range(400))
        await shop.sent()
        for taken in (50, 150):
            await has_taken(books, taken)
            nats.kill()
            nats.start()
        await has_taken(books, 400)
        assert in_order(await taken_ids(books), shop.published)
        await relay.stop()


async def test_a_service_stops_at_once_although_the_broker_is_unavailable(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    books = Node("books", new_database("books"), nats.url, router=accountant())
    async with books, Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(20))
        await has_taken(books, 20)
        nats.stop()

        async def is_noticed() -> bool:
            return not books.path.broker_connected()

        await eventually(is_noticed)
        await asyncio.wait_for(books.path.stop_handling(60), 30)


async def test_a_stream_whose_sequences_have_changed_is_read_from_its_beginning(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    """As after a stream was recreated without its oldest events."""
    url, view = new_database("books"), StreamView(nats.url)
    async with FakeProducer(nats.url) as producer:
        for number in range(100):
            await producer.publish(
                sold(number), headers={event_headers.NUMBER: None}, counted=False
            )
        published = [await producer.publish(sold(n)) for n in range(60)]
        async with Node("books", url, nats.url, router=accountant()) as books:
            await has_taken(books, 60)
        held = [
            m
            for m in await view.messages()
            if event_headers.header(m.headers, event_headers.NUMBER)
        ]
        config = (await view.api("STREAM.INFO.bookstore"))["config"]
        await view.api("STREAM.DELETE.bookstore")
        await view.api("STREAM.CREATE.bookstore", config)
        for message in held:
            kept = {k: v for k, v in message.headers.items() if not k.startswith("Nats-")}
            await producer.publish_again(message.subject, message.data, kept)
        published += [await producer.publish(sold(n)) for n in range(60, 80)]
        async with Node("books", url, nats.url, router=accountant()) as books:
            await has_taken(books, 80)
            assert in_order(await taken_ids(books), published)


async def test_the_safety_net_detects_a_reader_that_began_too_late_in_the_stream(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    find_backlogs, told = backlog.find_backlogs, list[bool]()

    async def nothing_at_first(*arguments: Any) -> Any:
        told.append(True)
        return {} if len(told) == 1 else await find_backlogs(*arguments)

    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(40))
        await shop.sent()
        monkeypatch.setattr(reader, "find_backlogs", nothing_at_first)
        async with Node("books", new_database("books"), nats.url, router=accountant()) as books:
            await has_taken(books, 40)
            assert in_order(await taken_ids(books), shop.published)


async def test_a_stream_without_direct_gets_is_reported_and_read_when_it_has_them(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    view = StreamView(nats.url)
    async with FakeProducer(nats.url) as producer:
        await producer.publish(sold(0))
        config = (await view.api("STREAM.INFO.bookstore"))["config"]
        await view.api("STREAM.UPDATE.bookstore", {**config, "allow_direct": False})
        with capture_logs() as logs:
            async with Node("books", new_database("books"), nats.url, router=accountant()) as books:

                async def is_told() -> bool:
                    return any("set allow_direct" in str(line) for line in logs)

                await eventually(is_told)
                with pytest.raises(JetStreamError):
                    await books.path.ledger()
                await view.api("STREAM.UPDATE.bookstore", config)
                await has_taken(books, 1)
