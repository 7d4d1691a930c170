"""A relay that leads and sends nothing: it stalls, or cannot try to acquire the lock."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest
from bookshop import TestSettings, eventually
from proxy import Proxy
from relaying import Shop, StreamView, in_order
from round_trips import BrokerRequests
from structlog.testing import capture_logs

from chassis.database import Database
from chassis.database.leadership import Lock
from chassis.events.producer import leadership, relay
from chassis.events.producer.event_factory import EventFactory
from chassis.events.producer.leadership import Leadership
from localservers import NatsServer

pytestmark = pytest.mark.dialect


async def test_a_standby_publishes_without_the_lock_while_its_holder_is_stalled(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "STANDBY_SECONDS", 0.05)
    monkeypatch.setattr(leadership, "STALLED_SECONDS", 0.3)
    url = new_database("shop")
    # A lock held without a relay looks to others like a process that SIGSTOP has stopped.
    stopped = Lock(url, "relay")
    with capture_logs() as logs:
        async with Shop(url) as shop:
            assert await asyncio.to_thread(stopped.acquire)
            standby = shop.start_relay(nats.url)
            for start in range(0, 60, 20):
                await shop.sell(range(start, start + 20))
                await shop.sent()
            assert standby.relay.leading
            await asyncio.to_thread(stopped.release)
            await shop.sell(range(60, 80))
            await shop.sent()
            assert in_order(await StreamView(nats.url).ids(), shop.published)
    assert len([line for line in logs if "publishing without the lock" in line["event"]]) == 1


@pytest.mark.long
async def test_a_standby_does_not_lead_while_events_are_sent(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(relay, "STANDBY_SECONDS", 0.02)
    monkeypatch.setattr(leadership, "STALLED_SECONDS", 2)
    url = new_database("shop")
    stopped = Lock(url, "relay")
    async with Shop(url) as shop:
        leader = shop.start_relay(nats.url, uses_lock=False, batch_events=1)
        await shop.sell(range(5))
        await shop.sent()
        assert await asyncio.to_thread(stopped.acquire)
        standby = shop.start_relay(nats.url)
        led = []
        for start in range(0, 200, 20):
            await shop.sell(range(start, start + 20))
            leader.relay.wake()
            await asyncio.sleep(0.3)
            led.append(standby.relay.leading)
        await shop.sent()
        assert not any(led)
        await asyncio.to_thread(stopped.release)


async def test_a_relay_that_cannot_open_its_lock_file_continues_once_it_can(
    nats: NatsServer, tmp_path: Path
) -> None:
    in_the_way = tmp_path / "shop.relay.lock"
    in_the_way.mkdir()
    with capture_logs() as logs:
        async with Shop(f"sqlite:///{tmp_path}/shop.db") as shop:
            shop.start_relay(nats.url)
            await shop.sell(range(5))

            async def said() -> bool:
                return any(line["event"] == "relay failed; retrying" for line in logs)

            await eventually(said)
            in_the_way.rmdir()
            await shop.sent()


async def test_the_end_of_a_purged_stream_is_found_without_a_request_per_sequence(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    requests, settings = BrokerRequests(), TestSettings(relay_reconcile_seconds=600)
    async with (
        Shop(new_database("shop"), settings=settings) as shop,
        Proxy(nats.port, tap=requests.connection) as proxy,
    ):
        running = shop.start_relay(proxy.url)
        await shop.sell(range(200))
        await shop.sent()
        view = StreamView(nats.url)
        first, *others = await view.messages()
        for subject in sorted({m.subject for m in others} - {first.subject}):
            await view.api("STREAM.PURGE.bookstore", {"filter": subject})
        await view.api("STREAM.PURGE.bookstore", {"filter": first.subject, "keep": 1})
        requests.published.clear()
        running.relay.reconcile()

        async def whole() -> bool:
            return len(await view.messages()) > 100

        await eventually(whole)
        await running.stop()
    assert len([subject for subject in requests.published if "MSG.GET" in subject]) < 10


async def test_a_replica_that_was_barred_for_a_while_leads_with_the_lock_again(
    new_database: Callable[[str], str],
) -> None:
    database = Database(new_database("shop"), EventFactory("shop"))
    one, two = (Leadership(database, "shop", uses_lock=True) for _ in range(2))
    assert await one.may_lead()
    await one.release()

    assert await one.may_lead()
    assert not await two.may_lead()
    await one.release()
    # The server frees the lock when it notices the close.
    await eventually(two.may_lead)
    await two.release()
    await asyncio.to_thread(database.close)
