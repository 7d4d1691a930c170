"""If services only verify streams, a release creates them, and nothing is lost before that."""

import asyncio
from collections.abc import Callable

import pytest
from bookshop import Node, TestSettings, accountant, eventually, sold
from reading import has_taken, taken_ids
from relaying import STREAM, TYPES, Shop, StreamView, in_order
from structlog.testing import capture_logs

from bookstore.v1 import BookReturned, BookSold
from chassis.database import Database
from chassis.event_settings import EventSettings
from chassis.events.jetstream.api import api_request
from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.jetstream.owned_stream import LaneCountChanged
from chassis.events.producer import outbox
from chassis.events.release.applying import (
    Applied,
    OutboxSummary,
    SubjectsHeld,
    apply_members_stream,
)
from chassis.events.release.applying import apply_own_stream as apply_own
from chassis.events.wire.contracts import event_type
from localservers import NatsServer

VERIFY = TestSettings(streams="verify")
MISSING = f"stream '{STREAM}' is missing: `python -m {STREAM} broker apply` creates it"

# The stream of members as earlier releases created it.
IN_MEMORY = {
    "name": "slipway-members", "subjects": ["slipway.members.>"], "storage": "memory",
    "max_msgs_per_subject": 1, "allow_rollup_hdrs": True, "allow_direct": True,
    "allow_msg_ttl": True,
}  # fmt: skip


async def applied(
    nats: NatsServer,
    settings: EventSettings = VERIFY,
    *,
    types: tuple[type, ...] = TYPES,
    known: OutboxSummary | None = None,
    change: bool = True,
) -> tuple[Applied, Applied]:
    """Return the summary of the shop's outbox, as `broker apply` reads it."""
    async with connection(NatsOptions(nats.url), "release") as client:
        names = [event_type(type) for type in types]
        own = await apply_own(client, STREAM, names, settings, known, change=change)
        return own, await apply_members_stream(client, settings.stream_replicas, change=change)


async def known_to(database: Database) -> OutboxSummary:
    return await database.read(
        lambda tx: OutboxSummary(outbox.sent_rank(tx.session), frozenset(outbox.types(tx.session)))
    )


async def says(node: Node, dependency: str, words: str) -> None:
    async def holds() -> bool:
        return words in node.path.states().get(dependency, "")

    await eventually(holds)


async def complains_of_nothing(node: Node) -> None:
    async def holds() -> bool:
        return node.path.states() == {"broker": "ok"}

    await eventually(holds)


async def stream_names(nats: NatsServer) -> list[str]:
    return (await StreamView(nats.url).api("STREAM.NAMES"))["streams"] or []


async def test_events_wait_in_the_outbox_until_a_release_has_created_the_streams(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    with capture_logs() as log:
        async with (
            Node(
                "bookstore", new_database("shop"), nats.url, publishes=TYPES, settings=VERIFY
            ) as shop,
            Node(
                "books", new_database("books"), nats.url, router=accountant(), settings=VERIFY
            ) as books,
        ):
            published = await shop.publish(*map(sold, range(50)))
            await says(shop, "publishing", MISSING)
            await says(books, "reading", MISSING)
            await says(books, "members", "stream 'slipway-members' is missing")
            assert await stream_names(nats) == []
            await applied(nats)
            await has_taken(books, 50)
            assert in_order(await taken_ids(books), published)
            for node in (shop, books):
                await complains_of_nothing(node)
    for work in ("publishing", "reading"):
        told = [line for line in log if line.get("work") == work and "reason" in line]
        assert [line["reason"] for line in told] == [MISSING]


@pytest.mark.parametrize("with_database", [True, False])
async def test_a_lost_stream_that_is_applied_again_is_filled_from_the_outbox(
    nats: NatsServer, new_database: Callable[[str], str], with_database: bool
) -> None:
    await applied(nats)
    async with (
        Node("bookstore", new_database("shop"), nats.url, publishes=TYPES, settings=VERIFY) as shop,
        Node(
            "books", new_database("books"), nats.url, router=accountant(), settings=VERIFY
        ) as books,
    ):
        published = await shop.publish(*map(sold, range(60)))
        await has_taken(books, 60)
        view = StreamView(nats.url)
        for lost in (STREAM, "slipway-members"):
            await view.api(f"STREAM.DELETE.{lost}")
        published += await shop.publish(*map(sold, range(60, 100)))
        await says(shop, "publishing", MISSING)
        await says(books, "members", "slipway-members")
        assert len(await taken_ids(books)) == 60
        known = await known_to(shop.database) if with_database else None
        await applied(nats, known=known)
        await has_taken(books, 100)
        assert in_order(await taken_ids(books), published)
        assert await view.ranks() == list(range(1, 101))
        for node in (shop, books):
            await node.settled()
            await complains_of_nothing(node)
        # A new consumer begins at the first event, whatever the stream's metadata say.
        late = new_database("late")
        async with Node("late", late, nats.url, router=accountant(), settings=VERIFY) as newcomer:
            await has_taken(newcomer, 100)
            assert in_order(await taken_ids(newcomer), published)


async def test_a_new_type_waits_for_the_release_that_adds_it_and_is_named(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    await applied(nats, types=(BookSold,))
    async with Shop(new_database("shop"), settings=VERIFY) as shop:
        relay = shop.start_relay(nats.url)
        await shop.sell(range(5))
        await shop.sent()
        assert "lacks bookstore.v1.BookReturned.*" in (relay.relay.hindrance or "")
        await shop.publish(sold(5), BookReturned(book_id="book-1"), sold(6))

        async def one_is_stored() -> bool:
            shop.wake()
            return await shop.unsent() == 2

        await eventually(one_is_stored)
        own, _ = await applied(nats)
        assert (own.done, own.what) == ("extended", ("bookstore.v1.BookReturned.*",))
        await shop.sent()
        assert await StreamView(nats.url).ranks() == list(range(1, 9))

        async def is_content() -> bool:
            return relay.relay.hindrance is None

        await eventually(is_content)


async def test_an_event_that_waits_for_a_release_delays_no_earlier_event(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    await applied(nats, types=(BookSold,))
    async with Shop(new_database("shop"), settings=VERIFY) as shop:
        shop.start_relay(nats.url)
        await shop.publish(*map(sold, range(7)), BookReturned(book_id="book-1"))

        async def seven_are_sent() -> bool:
            shop.wake()
            return await shop.unsent() == 1

        await eventually(seven_are_sent)
        assert await StreamView(nats.url).ranks() == list(range(1, 8))


async def test_other_failures_are_logged_while_a_type_waits_for_a_release(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    await applied(nats, types=(BookSold,))
    with capture_logs() as log:
        async with Shop(new_database("shop"), settings=VERIFY) as shop:
            relay = shop.start_relay(nats.url)
            await shop.publish(BookReturned(book_id="book-1"))

            async def is_hindered() -> bool:
                return "lacks" in (relay.relay.hindrance or "")

            async def tells_of_the_broker() -> bool:
                return "relay failed; retrying" in [line["event"] for line in log]

            await eventually(is_hindered)
            compared_at = relay.relay.reconciler.compared_at

            async def is_compared_again() -> bool:
                return relay.relay.reconciler.compared_at > compared_at

            await eventually(is_compared_again)
            assert [(line["event"], line["work"]) for line in log] == [
                ("stream is unusable; its events wait", "publishing")
            ]
            nats.kill()
            await eventually(tells_of_the_broker)
            nats.start()


async def test_a_type_of_an_older_version_is_added_if_the_outbox_holds_it(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Shop(new_database("shop"), settings=VERIFY) as shop:
        await shop.publish(BookReturned(book_id="book-1"), sold(1))
        await applied(nats, types=(BookSold,), known=await known_to(shop.database))
        shop.start_relay(nats.url, types=[BookSold])
        await shop.sent()
    assert await StreamView(nats.url).ranks() == [1, 2]


async def test_a_second_apply_changes_nothing_and_reports_an_operators_settings(
    nats: NatsServer,
) -> None:
    first = await applied(nats, change=False)
    assert [each.done for each in first] == ["made", "made"]
    assert await stream_names(nats) == []
    assert [each.done for each in await applied(nats)] == ["made", "made"]
    view = StreamView(nats.url)
    before = await view.api(f"STREAM.INFO.{STREAM}")
    for each in await applied(nats):
        assert (each.done, each.drift) == ("unchanged", ())
    chosen = before["config"] | {"max_age": 3600 * 10**9, "max_msgs": 10, "allow_batched": False}
    await view.api(f"STREAM.UPDATE.{STREAM}", chosen)
    own, _ = await applied(nats)
    assert (own.done, own.what) == ("extended", ("allow_batched",))
    assert [line.split()[0] for line in own.drift] == ["max_age", "max_msgs"]
    after = (await view.api(f"STREAM.INFO.{STREAM}"))["config"]
    assert (after["max_age"], after["max_msgs"]) == (3600 * 10**9, 10)
    assert after["allow_batched"]


async def test_another_stream_with_the_subjects_is_named_in_the_error(nats: NatsServer) -> None:
    view = StreamView(nats.url)
    await view.api("STREAM.CREATE.legacy", {"name": "legacy", "subjects": ["bookstore.>"]})
    with pytest.raises(SubjectsHeld, match="stream 'legacy' holds bookstore"):
        await applied(nats)
    await view.api("STREAM.DELETE.legacy")
    config = {"name": STREAM, "subjects": ["x"], "metadata": {"slipway.lanes": "10"}}
    await view.api(f"STREAM.CREATE.{STREAM}", config)
    with pytest.raises(LaneCountChanged):
        await applied(nats)
    assert (await view.api(f"STREAM.INFO.{STREAM}"))["config"]["subjects"] == ["x"]


@pytest.mark.parametrize("there_before", [False, True])
async def test_concurrent_releases_leave_the_subjects_of_each_of_them(
    nats: NatsServer, there_before: bool
) -> None:
    """Several versions of a service each publish a type that the others do not."""
    if there_before:
        await applied(nats, types=(BookSold,))
    versions = [["bookstore.v1.BookSold", f"bookstore.v1.Book{each}"] for each in "ABCD"]

    async def apply(types: list[str]) -> Applied:
        async with connection(NatsOptions(nats.url), "release") as client:
            return await apply_own(client, STREAM, types, VERIFY, None)

    done = await asyncio.gather(*map(apply, versions))
    config = (await StreamView(nats.url).api(f"STREAM.INFO.{STREAM}"))["config"]
    assert config["subjects"] == sorted({f"{type}.*" for types in versions for type in types})
    assert sorted(each.done for each in done).count("made") == (not there_before)
    # Each reports only its own additions.
    for types, each in zip(versions, done, strict=True):
        assert f"{types[1]}.*" in each.what
    for types in versions:
        assert (await apply(types)).done == "unchanged"


async def test_a_members_stream_created_concurrently_by_an_older_release_is_read_again(
    nats: NatsServer,
) -> None:
    view = StreamView(nats.url)
    for _ in range(10):
        async with (
            connection(NatsOptions(nats.url), "older") as older,
            connection(NatsOptions(nats.url), "release") as client,
        ):
            applying = asyncio.create_task(apply_members_stream(client, 1))
            making = asyncio.create_task(
                api_request(older, "STREAM.CREATE.slipway-members", IN_MEMORY)
            )
            await asyncio.wait({applying, making})
        members = applying.result()
        if making.exception():
            assert (members.done, members.drift) == ("made", ())
        else:
            (line,) = members.drift
            assert (members.done, line.partition(",")[0]) == ("unchanged", "storage 'memory'")
        await view.api("STREAM.DELETE.slipway-members")


async def test_members_kept_in_memory_by_an_older_version_are_reported(nats: NatsServer) -> None:
    await StreamView(nats.url).api("STREAM.CREATE.slipway-members", IN_MEMORY)
    _, members = await applied(nats)
    (line,) = members.drift
    assert line == (
        "storage 'memory', wanted 'file': the key of a release may not change it; with a key that "
        "may delete streams: nats stream rm slipway-members, then apply again; members announce "
        "themselves again within seconds"
    )
    # The release has deleted nothing, and the stream is used.
    state = await StreamView(nats.url).api("STREAM.INFO.slipway-members")
    assert state["config"]["storage"] == "memory"


async def test_a_members_stream_recreated_as_the_release_advises_loses_nothing(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    view = StreamView(nats.url)
    await view.api("STREAM.CREATE.slipway-members", IN_MEMORY)
    await applied(nats)
    async with (
        Node("bookstore", new_database("shop"), nats.url, publishes=TYPES, settings=VERIFY) as shop,
        Node(
            "books", new_database("books"), nats.url, router=accountant(), settings=VERIFY
        ) as books,
    ):
        published = await shop.publish(*map(sold, range(20)))
        await has_taken(books, 20)
        await view.api("STREAM.DELETE.slipway-members")
        _, members = await applied(nats)
        assert (members.done, members.drift) == ("made", ())
        published += await shop.publish(*map(sold, range(20, 40)))
        await has_taken(books, 40)
        assert in_order(await taken_ids(books), published)
        for node in (shop, books):
            await complains_of_nothing(node)
