"""Events are sent soon after their commit in any replica, and not without a commit."""

import asyncio
import threading
from collections.abc import Callable

import pytest
from bookshop import Node, TestSettings, eventually, sold
from relaying import TYPES, Shop, StreamView, in_order, relay_process

from chassis import Transaction
from chassis.database.leadership import Lock
from chassis.events.jetstream.ordered_batch import BatchPublisher
from chassis.events.producer.draining import OutboxDrain
from localservers import NatsServer

# Only a wake makes a relay send an event within a test's time.
PATIENT = TestSettings(relay_sweep_seconds=60, relay_reconcile_seconds=600)


async def test_a_commit_wakes_the_relay_of_the_replica_that_holds_the_lock(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("shop")
    nodes = [
        await Node("bookstore", url, nats.url, publishes=TYPES, settings=PATIENT).start()
        for _ in range(3)
    ]

    async def one_leads() -> bool:
        return sum(bool(node.path.relay and node.path.relay.leading) for node in nodes) == 1

    async def all_connected() -> bool:
        return all(node.path.broker_connected() for node in nodes)

    await eventually(one_leads)
    await eventually(all_connected)
    view, count = StreamView(nats.url), 0
    for node in nodes:
        await node.publish(sold(count), sold(count + 1))
        count += 2

        async def is_sent(count: int = count) -> bool:
            return len(await view.ids()) == count

        await eventually(is_sent, 10)
    for node in nodes:
        await node.stop()


async def test_a_commit_just_after_a_look_of_the_relay_is_not_overlooked(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    has_unsent, run = OutboxDrain.has_unsent, OutboxDrain.run
    async with Shop(new_database("shop"), settings=PATIENT) as shop:

        async def commit() -> None:
            if len(shop.published) < 5:
                await shop.sell(range(1))
                shop.wake()

        async def look_then_commit(drain: OutboxDrain) -> bool:
            found = await has_unsent(drain)
            await commit()
            return found

        async def run_then_commit(drain: OutboxDrain, publisher: BatchPublisher) -> bool:
            is_older = await run(drain, publisher)
            await commit()
            return is_older

        monkeypatch.setattr(OutboxDrain, "has_unsent", look_then_commit)
        monkeypatch.setattr(OutboxDrain, "run", run_then_commit)
        shop.start_relay(nats.url)
        view = StreamView(nats.url)

        async def is_sent() -> bool:
            return len(await view.ids()) == 5

        await eventually(is_sent, 10)
        assert in_order(await view.ids(), shop.published)


async def test_a_transaction_rolled_back_publishes_nothing(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)

        def fail(tx: Transaction) -> None:
            tx.publish(sold(1))
            raise RuntimeError("changed its mind")

        with pytest.raises(RuntimeError):
            await shop.database.transaction(fail)
        kept = await shop.publish(sold(2))
        await shop.sent()
        assert await StreamView(nats.url).ids() == [kept[0].id]


async def test_a_standby_takes_over_when_the_lock_holder_is_killed(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop")) as shop:
        await shop.sell(range(10))
        async with relay_process(shop.url, nats.url, "never") as process:
            await shop.sent()
            standby = shop.start_relay(nats.url)
            await shop.sell(range(10, 20))
            await shop.sent()
            assert not standby.relay.leading, "two lead"
            process.kill()
            await process.wait()
            await shop.sell(range(20, 30))
            await shop.sent()
            assert standby.relay.leading
            assert await StreamView(nats.url).ranks() == list(range(1, 31))


@pytest.mark.parametrize("moment", ["before acquire", "after acquire"])
async def test_a_relay_that_stops_while_it_acquires_the_lock_releases_it(
    nats: NatsServer,
    new_database: Callable[[str], str],
    monkeypatch: pytest.MonkeyPatch,
    moment: str,
) -> None:
    is_there, may_go_on, done = threading.Event(), threading.Event(), threading.Event()
    # The locks are kept, because the garbage collector would release a forgotten one.
    locks: list[Lock] = []
    acquire = Lock.acquire

    def hold() -> None:
        is_there.set()
        may_go_on.wait(20)

    def acquire_slowly(lock: Lock) -> bool:
        locks.append(lock)
        if moment == "before acquire":
            hold()
        acquired = acquire(lock)
        if moment == "after acquire":
            hold()
        done.set()
        return acquired

    async with Shop(new_database("shop")) as shop:
        monkeypatch.setattr(Lock, "acquire", acquire_slowly)
        relay = shop.start_relay(nats.url)
        assert await asyncio.to_thread(is_there.wait, 20)
        await relay.stop()
        may_go_on.set()
        assert await asyncio.to_thread(done.wait, 20)
        monkeypatch.undo()
        await shop.sell(range(1))
        shop.start_relay(nats.url)
        await shop.sent()


async def test_a_released_lock_cannot_be_acquired_again(new_database: Callable[[str], str]) -> None:
    url = new_database("shop")
    released = Lock(url, "relay")
    released.release()
    assert not released.acquire(), "no process would release it"
    other = Lock(url, "relay")
    assert other.acquire()
    assert not Lock(url, "relay").acquire()
    other.release()
    third = Lock(url, "relay")
    assert third.acquire()
    third.release()
