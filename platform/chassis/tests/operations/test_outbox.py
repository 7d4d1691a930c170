"""The outbox tells what waits in it, with the broker and without."""

from collections.abc import Callable

from bookshop import sold
from relaying import STREAM, TYPES, Shop
from shell import Shell

from chassis.exit_codes import OK
from chassis.testing import NatsServer


async def test_what_waits_to_be_sent_is_told_though_the_broker_is_away(
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
