"""The outbox is drained in rounds of numbering, sending and recording, without a broker here."""

from collections.abc import AsyncIterator, Callable, Sequence
from typing import Any

import pytest
from backup import back_up, restore
from relaying import Shop
from sqlalchemy import update

from chassis.database.tables import relay
from chassis.events.producer import outbox
from chassis.events.producer.batch_size import BatchSize
from chassis.events.producer.counters import Counters
from chassis.events.producer.draining import OutboxDrain
from chassis.events.producer.outbox import NumberedEvent

pytestmark = pytest.mark.unit

# The sender of these tests does not use a client.
CLIENT: Any = None


class FakeSender:
    """A sender that stores up to `accepts` events of each call in a list."""

    def __init__(self, accepts: int = 1000) -> None:
        self.size = BatchSize(1000)
        self.accepts = accepts
        self.sent: list[NumberedEvent] = []

    async def send(
        self, _client: object, rows: Sequence[NumberedEvent], counters: Counters
    ) -> tuple[int, int]:
        assert counters.sent_rank == len(self.sent)
        self.sent += rows[: self.accepts]
        return len(rows[: self.accepts]), len(self.sent)


@pytest.fixture
async def shop(new_database: Callable[[str], str]) -> AsyncIterator[Shop]:
    async with Shop(new_database("shop")) as shop:
        yield shop


def drain_of(shop: Shop, sender: Any, *, is_due: bool = False, batch: int = 1000) -> OutboxDrain:
    return OutboxDrain(shop.database, sender, batch, lambda _since: is_due)


@pytest.mark.parametrize(("batch", "accepts"), [(1000, 1000), (1000, 3), (7, 1000)])
async def test_all_events_are_sent_once_in_the_order_of_their_ranks(
    shop: Shop, batch: int, accepts: int
) -> None:
    sender = FakeSender(accepts)
    await shop.sell(range(60))
    drain = drain_of(shop, sender, batch=batch)
    assert await drain.run(CLIENT) is False
    await drain.record()
    assert [event.rank for event in sender.sent] == list(range(1, 61))
    assert await shop.unsent() == 0


async def test_what_was_sent_is_recorded_with_the_next_events(shop: Shop) -> None:
    sender = FakeSender()
    drain = drain_of(shop, sender)
    await shop.sell(range(10))
    await drain.run(CLIENT)
    assert (drain.has_unrecorded, await shop.unsent()) == (True, 10)
    await shop.sell(range(10, 15))
    await drain.run(CLIENT)
    assert len(sender.sent) == 15
    assert await shop.unsent() == 5


async def test_a_late_record_changes_nothing_that_another_relay_has_recorded(shop: Shop) -> None:
    slow, other = drain_of(shop, FakeSender()), drain_of(shop, sender := FakeSender())
    await shop.sell(range(10))
    await slow.run(CLIENT)
    await other.run(CLIENT)
    await shop.sell(range(10, 15))
    await other.run(CLIENT)
    await other.record()
    await slow.record()
    assert len(sender.sent) == 15
    assert await shop.unsent() == 0


async def test_a_late_record_does_not_count_for_other_numbers(shop: Shop) -> None:
    drain = drain_of(shop, FakeSender())
    await shop.sell(range(10))
    await drain.run(CLIENT)
    await shop.database.transaction(
        lambda tx: tx.session.execute(update(relay).values(generation="another"))
    )
    await drain.record()
    assert await shop.unsent() == 10


async def test_a_comparison_that_is_due_comes_before_further_events(shop: Shop) -> None:
    sender = FakeSender()
    await shop.sell(range(10))
    await drain_of(shop, sender, is_due=True).run(CLIENT)
    assert sender.sent == []
    assert await shop.unsent() == 10


async def test_a_restored_database_is_noticed_before_anything_is_numbered(shop: Shop) -> None:
    sender = FakeSender()
    drain = drain_of(shop, sender)
    await shop.sell(range(10))
    assert await drain.run(CLIENT) is False
    await drain.record()
    backup = back_up(shop.url)
    await shop.sell(range(10, 20))
    assert await drain.run(CLIENT) is False
    restore(shop.url, backup)
    await shop.sell(range(20, 30))
    assert await drain.run(CLIENT) is True
    assert len(sender.sent) == 20
    rank = await shop.database.read(lambda tx: outbox.sent_rank(tx.session))
    assert (rank, await shop.unsent()) == (10, 10)
