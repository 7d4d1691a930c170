"""No loss of the broker, or of its data, loses, doubles or reorders an event."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from bookshop import Node, accountant, eventually
from proxy import Proxy
from relaying import STREAM, Shop, StreamView, in_order

from bookstore.v1 import BookReturned
from chassis.events.jetstream.broker import Broker
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.waiting import end, wait_at_most
from localservers import NatsServer

Disaster = Callable[[NatsServer, Path], Awaitable[None]]


async def killed(nats: NatsServer, _copy: Path) -> None:
    nats.kill()
    nats.start()


async def erased(nats: NatsServer, _copy: Path) -> None:
    nats.kill()
    nats.erase()
    nats.start()


async def older_copy(nats: NatsServer, copy: Path) -> None:
    nats.kill()
    nats.restore_store(copy)
    nats.start()


async def deleted(nats: NatsServer, _copy: Path) -> None:
    await StreamView(nats.url).api(f"STREAM.DELETE.{STREAM}")


@pytest.mark.parametrize(
    "disaster", [killed, erased, older_copy, deleted], ids=lambda d: d.__name__
)
async def test_the_stream_is_complete_again_after(
    disaster: Disaster, nats: NatsServer, new_database: Callable[[str], str], tmp_path: Path
) -> None:
    books = await Node("books", new_database("books"), nats.url, router=accountant()).start()
    async with Shop(new_database("shop")) as shop:
        relay = shop.start_relay(nats.url, batch_events=10)
        await shop.sell(range(60))
        await shop.sent()
        nats.stop()
        nats.copy_store(tmp_path / "copy")
        nats.start()
        await shop.sell(range(60, 120))
        await shop.sent()
        await books.settled()
        # Some of these events are unhandled when the disaster happens.
        await shop.sell(range(120, 150))
        await disaster(nats, tmp_path / "copy")
        await shop.sell(range(150, 200), at_once=10)
        stream = StreamView(nats.url)

        async def whole() -> bool:
            relay.relay.wake()
            return await stream.ranks() == list(range(1, 201))

        await eventually(whole)
        await shop.sent()
        assert in_order(await stream.ids(), shop.published)

        async def handled() -> bool:
            return len(await books.journal()) >= 200

        await eventually(handled)
        await books.settled()
        assert in_order([e.event_id for e in await books.journal()], shop.published)
    await books.stop()


async def test_a_purged_stream_is_filled_again(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    books = await Node("books", new_database("books"), nats.url, router=accountant()).start()
    async with Shop(new_database("shop")) as shop:
        relay = shop.start_relay(nats.url)
        await shop.sell(range(50))
        await shop.sent()
        await books.settled()
        stream = StreamView(nats.url)
        await stream.api(f"STREAM.PURGE.{STREAM}")
        relay.relay.reconcile()

        async def whole() -> bool:
            return await stream.ranks() == list(range(1, 51))

        await eventually(whole)
        await shop.sell(range(50, 60))
        await shop.sent()

        async def handled() -> bool:
            return in_order([e.event_id for e in await books.journal()], shop.published)

        await eventually(handled)
    await books.stop()


async def holds(stream: StreamView, ranks: int) -> bool:
    """Whether the stream holds this number of ranks, from the first on."""
    return await stream.ranks() == list(range(1, ranks + 1))


async def test_a_broker_killed_in_the_middle_of_a_batch_gets_the_rest_once_it_runs_again(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    # The relay must not give up before the broker is killed.
    monkeypatch.setattr("chassis.events.jetstream.ordered_batch.TIMEOUT_SECONDS", 60)
    async with Shop(new_database("shop")) as shop, Proxy(nats.port) as proxy:
        stream = StreamView(nats.url)
        await shop.sell(range(10))
        shop.start_relay(proxy.url)
        await shop.sent()
        for marker in (b".25.1.$FI ", b".51.3.$FI "):
            there = len(shop.published)
            held = proxy.hold_at("to_server", marker)
            await shop.sell(range(there, there + 50))
            shop.wake()
            await held.wait()
            before = 24 if marker.startswith(b".25") else 50
            await eventually(partial(holds, stream, there + before))
            nats.kill()
            proxy.release()
            proxy.refusing = True
            nats.start()
            assert await holds(stream, there + before)
            proxy.refusing = False
            await shop.sent()
        assert await stream.ranks() == list(range(1, 111))
        async with Node("books", new_database("books"), nats.url, router=accountant()) as books:
            await books.settled()
            assert in_order([e.event_id for e in await books.journal()], shop.published)


async def test_a_broker_that_no_longer_reads_does_not_hold_its_relay(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("chassis.events.jetstream.ordered_batch.TIMEOUT_SECONDS", 0.2)
    async with Shop(new_database("shop")) as shop, Proxy(nats.port) as proxy:
        shop.start_relay(proxy.url)
        await shop.sell(range(1))
        await shop.sent()
        proxy.stall()
        # These events are larger than all buffers between relay and broker.
        for n in range(12):
            await shop.publish(BookReturned(book_id=str(n), reason="x" * 400_000))
        await shop.sent()
        assert await StreamView(nats.url).ranks() == list(range(1, 14))


async def test_a_broker_that_hangs_and_continues_stores_each_event_once(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop")) as shop, Proxy(nats.port) as proxy:
        shop.start_relay(proxy.url)
        await shop.sell(range(10))
        await shop.sent()
        hung = asyncio.Event()

        def hang() -> None:
            nats.pause()
            hung.set()

        proxy.when("to_server", b".3.$FI ", hang)
        await shop.sell(range(10, 50))
        shop.wake()
        await hung.wait()
        await shop.sell(range(50, 60))
        # The relay cannot know whether the broker has stored its batch.
        proxy.cut()
        await asyncio.sleep(0.1)
        nats.resume()
        await shop.sent()
        assert await StreamView(nats.url).ranks() == list(range(1, 61))


async def test_events_wait_in_the_outbox_while_the_broker_is_unavailable(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    nats.kill()
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(50))
        assert await shop.unsent() == 50
        nats.start()
        await shop.sent()
        nats.kill()
        await shop.sell(range(50, 100))
        assert await shop.unsent() == 50
        nats.start()
        await shop.sent()
        stream = StreamView(nats.url)
        assert await stream.ranks() == list(range(1, 101))
        assert in_order(await stream.ids(), shop.published)


async def test_failed_attempts_to_reconnect_leave_no_connection_open(
    nats: NatsServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened: list[Any] = []
    connect = asyncio.open_connection

    async def remembered(*arguments: Any, **options: Any) -> Any:
        reader, writer = await connect(*arguments, **options)
        # The proxy opens connections too, to the server.
        if options.get("port") == proxy.port:
            opened.append(writer)
        return reader, writer

    async with Proxy(nats.port) as proxy:
        monkeypatch.setattr(asyncio, "open_connection", remembered)
        broker = Broker(NatsOptions(proxy.url), "books")
        running = asyncio.create_task(broker.run())
        try:
            await broker.connected.wait()
            broker.client.options["connect_timeout"] = 0.1
            # From now on the broker accepts connections and sends nothing.
            proxy.hold("to_client")
            proxy.cut()

            async def has_tried() -> bool:
                return len(opened) >= 4

            await eventually(has_tried)
            assert all(writer.is_closing() for writer in opened[:-1])
        finally:
            broker.client.options["connect_timeout"] = 10
            proxy.release()
            await wait_at_most(broker.connected, 20)
            await broker.close()
            await end([running])
    assert all(writer.is_closing() for writer in opened)
