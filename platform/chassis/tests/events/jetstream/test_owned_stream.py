"""A service creates its stream, adds subjects to it, and reports settings that differ."""

from collections.abc import Callable

from bookshop import TestSettings, eventually
from relaying import STREAM, Shop, StreamView
from structlog.testing import capture_logs

from bookstore.v1 import BookReturned, BookSold
from localservers import NatsServer


async def test_a_stream_with_another_number_of_lanes_is_refused_with_what_to_do(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    view = StreamView(nats.url)
    config = {"name": STREAM, "subjects": ["bookstore.v1.*.*"], "allow_batched": True}
    await view.api(f"STREAM.CREATE.{STREAM}", config | {"metadata": {"slipway.lanes": "10"}})
    async with Shop(new_database("shop")) as shop:
        await shop.sell(range(3))
        await shop.start_relay(nats.url).ended()
        (error,) = shop.fatal
        assert "has 10 lanes, this platform has 20" in str(error)
        assert "drain" in str(error)
        assert "delete the stream" in str(error)
        assert await shop.unsent() == 3
    assert (await view.api(f"STREAM.INFO.{STREAM}"))["state"]["messages"] == 0


async def test_types_are_added_to_an_existing_stream(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop")) as shop:
        first = shop.start_relay(nats.url, types=[BookSold])
        await shop.sell(range(10))
        await shop.sent()
        await first.stop()
        shop.start_relay(nats.url, types=[BookSold, BookReturned])
        await shop.publish(BookReturned(book_id="book-1"))
        await shop.sent()
        view = StreamView(nats.url)
        assert await view.ranks() == list(range(1, 12))
        info = await view.api(f"STREAM.INFO.{STREAM}")
        assert set(info["config"]["subjects"]) == {
            "bookstore.v1.BookSold.*",
            "bookstore.v1.BookReturned.*",
        }


async def test_a_type_no_longer_published_stays_readable(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop")) as shop:
        first = shop.start_relay(nats.url)
        await shop.publish(BookReturned(book_id="book-1"))
        await shop.sent()
        await first.stop()
        shop.start_relay(nats.url, types=[BookSold])
        await shop.sell(range(1))
        await shop.sent()
        assert await StreamView(nats.url).ranks() == [1, 2]


async def test_a_stream_that_differs_from_the_settings_is_reported_and_not_changed(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop")) as shop:
        first = shop.start_relay(nats.url)
        await shop.sell(range(1))
        await shop.sent()
        await first.stop()
        longer = TestSettings(stream_max_age_seconds=30 * 24 * 3600)
        with capture_logs() as log:
            shop.start_relay(nats.url, settings=longer)
            await shop.sell(range(1, 2))
            await shop.sent()

            async def reported() -> bool:
                return any("max_age" in line.get("drift", "") for line in log)

            await eventually(reported)
        info = await StreamView(nats.url).api(f"STREAM.INFO.{STREAM}")
        assert info["config"]["max_age"] == 7 * 24 * 3600 * 10**9


async def test_two_relays_may_create_the_stream_concurrently(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop")) as shop:
        with capture_logs() as log:
            for _ in range(3):
                shop.start_relay(nats.url, uses_lock=False)
            await shop.sell(range(20))
            await shop.sent()
        assert not [line for line in log if line["log_level"] == "error"]
        assert await StreamView(nats.url).ranks() == list(range(1, 21))


async def test_messages_of_other_publishers_do_not_send_everything_again(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    import nats as client_library

    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(50))
        await shop.sent()
        async with await client_library.connect(nats.url) as publisher:
            for n in range(5):
                await publisher.request(f"bookstore.v1.BookSold.{n}", b"garbage")
            await publisher.request("bookstore.v1.BookSold.1", b"", headers={"ce-id": "x"})
        await shop.sell(range(50, 60))
        await shop.sent()
        ranks = [rank for rank in await StreamView(nats.url).ranks() if rank]
        assert ranks == list(range(1, 61))
