"""An operator sees the outbox with and without the broker, and resends refused events."""

from collections.abc import Callable

import pytest
from bookshop import Node, eventually, sold
from relaying import STREAM, TYPES, Shop, StreamView
from shell import Shell
from sqlalchemy import update

from bookstore.v1 import BookSold
from chassis.database import tables
from chassis.exit_codes import NOTHING, OK, USAGE
from localservers import NatsServer

pytestmark = pytest.mark.dialect


async def test_the_outbox_is_shown_while_the_broker_is_unavailable(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop")) as shop:
        shell = Shell(STREAM, shop.url, nats.url, publishes=TYPES)
        relay = shop.start_relay(nats.url)
        await shop.publish(*(sold(number) for number in range(5)))
        await shop.sent()

        ran = await shell.run("outbox", "status", "--json")
        (status,) = ran.rows
        assert (ran.code, ran.err) == (OK, "")
        assert (status["unsent"], status["oldest_unsent_seconds"], status["kept"]) == (0, None, 5)
        assert status["sent_rank"] == status["last_rank"] == 5
        assert status["sent_sequence"] == status["stream_sequence"] == 5

        await relay.stop()
        nats.stop()
        await shop.publish(sold(5), sold(6))
        ran = await shell.run("outbox", "status", "--json")
        (status,) = ran.rows
        assert (status["unsent"], status["kept"], status["stream_sequence"]) == (2, 7, None)
        assert status["oldest_unsent_seconds"] >= 0
        assert ran.code == OK
        assert f"the broker at {nats.url} cannot be reached" in ran.err


async def test_refused_events_are_listed_resent_and_dropped(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    view = StreamView(nats.url)
    async with Shop(new_database("shop")) as shop:
        shell = Shell(STREAM, shop.url, nats.url, publishes=TYPES)
        shop.start_relay(nats.url)
        await shop.sell(range(5))
        await shop.sent()
        config = (await view.api(f"STREAM.INFO.{STREAM}"))["config"]
        await view.api(f"STREAM.UPDATE.{STREAM}", {**config, "max_msg_size": 8192})
        assert (await shell.run("outbox", "refused")).code == NOTHING
        assert "max_msg_size 8192" in (await shell.run("outbox", "status")).err
        big = [BookSold(book_id=f"big-{n}", customer_id="x" * 20_000) for n in range(3)]
        refused = await shop.publish(*big)
        await shop.sent()

        listed = (await shell.run("outbox", "refused", "--json")).rows
        assert [row["event_id"] for row in listed] == [event.id for event in refused]
        assert {row["reason"] for row in listed} == {"message size exceeds maximum allowed"}
        (status,) = (await shell.run("outbox", "status", "--json")).rows
        assert (status["unsent"], status["refused"]) == (0, 3)
        async with Node(STREAM, shop.url, nats.url) as node:
            assert (await node.path.ledger()).unsent == 3

            async def is_told() -> bool:
                return node.path.held_up.report()["refused_events"] == 3

            await eventually(is_told)

        assert (await shell.run("outbox", "resend", "--yes")).code == USAGE
        first = str(listed[0]["id"])
        assert (await shell.run("outbox", "drop", first, "--yes")).code == OK
        await view.api(f"STREAM.UPDATE.{STREAM}", {**config, "max_msg_size": -1})
        await refused_hours_ago(shop, listed[1]["id"], hours=3)
        ran = await shell.run("outbox", "resend", "--since", "2h", "--yes")
        assert (ran.code, "done: 1" in ran.err) == (OK, True)
        await shop.sent()
        ran = await shell.run("outbox", "resend", "--all", "--type", "BookSold", "--yes")
        assert (ran.code, "done: 1" in ran.err) == (OK, True)
        await shop.sent()
        assert (await view.ids())[-2:] == [refused[2].id, refused[1].id]
        assert (await shell.run("outbox", "refused")).code == NOTHING


async def refused_hours_ago(shop: Shop, id: object, hours: int) -> None:
    earlier = update(tables.refused).where(tables.refused.c.id == id)
    await shop.database.transaction(
        lambda tx: tx.session.execute(
            earlier.values(refused_at=tables.refused.c.refused_at - hours * 3600)
        )
    )


async def test_a_service_that_publishes_nothing_has_nothing_to_send(prepared_sqlite: str) -> None:
    ran = await Shell("books", f"sqlite:///{prepared_sqlite}").run("outbox", "status", "--json")
    assert (ran.code, ran.rows, ran.err) == (NOTHING, [], "books publishes no events\n")
