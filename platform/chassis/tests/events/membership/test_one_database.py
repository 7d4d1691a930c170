"""The replicas of a service have one database; a second one under its name is refused."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from bookshop import Node, accountant, eventually, sold
from owners import announce, bystander
from prometheus_client import REGISTRY
from relaying import Shop, StreamView
from structlog.testing import capture_logs

from bookstore.v1 import BookSold
from chassis.events.wire.lanes import LANES
from chassis.ids import uuid7
from localservers import NatsServer

NewDatabase = Callable[[str], str]


async def is_refused(node: Node) -> None:
    async def holds() -> bool:
        return bool(node.path.refused)

    await eventually(holds)


def refused_gauge() -> float | None:
    return REGISTRY.get_sample_value("event_database_refused")


async def test_a_new_member_with_another_database_reads_nothing_until_the_others_are_gone(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        async with Node("books", new_database("two"), nats.url, router=accountant()) as late:
            # Its database is the older one, although it joins later.
            await late.stop()
        one = Node("books", new_database("one"), nats.url, router=accountant())
        two = Node("books", late.url, nats.url, router=accountant())
        async with one:
            await one.path.members.joined.wait()  # type: ignore[union-attr]
            async with two:
                with capture_logs() as logs:
                    await is_refused(two)
                assert one.path.refused == ""
                assert "the same APP_DATABASE_URL" in two.path.refused
                assert [line["event"] for line in logs if line["log_level"] == "error"] == [
                    "another database is in use; reading and publishing stopped"
                ]
                assert refused_gauge() == 1
                await shop.sell(range(60))
                await shop.sent()
                await one.settled()
                assert (len(await one.journal()), await two.journal()) == (60, [])
                assert (await two.path.ledger()).lag == 60
                await one.stop()

                async def has_taken_over() -> bool:
                    return len(await two.journal()) == 60

                await eventually(has_taken_over)
                assert (two.path.refused, refused_gauge()) == ("", 0)


async def test_two_databases_do_not_publish_into_one_stream(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    one, two = (
        Node("bookstore", new_database(name), nats.url, publishes=[BookSold])
        for name in ("one", "two")
    )
    async with one:
        await one.path.members.joined.wait()  # type: ignore[union-attr]
        async with two:
            await is_refused(two)
            waits = await two.publish(sold(1))
            goes = await one.publish(*(sold(n) for n in range(5)))
            await one.settled()
            view = StreamView(nats.url)
            assert await view.ids() == [event.id for event in goes]
            assert (await two.path.ledger()).unsent == 1
            await one.stop()
            await two.settled()
            assert (await view.ids())[5:] == [event.id for event in waits]


async def test_two_databases_that_publish_without_a_membership_are_logged(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    async with Shop(new_database("one")) as one, Shop(new_database("two")) as two:
        one.start_relay(nats.url)
        two.start_relay(nats.url)
        with capture_logs() as logs:
            for n in range(6):
                for shop in (one, two):
                    await shop.publish(sold(n))
                    await shop.sent()
            published = [event.id for shop in (one, two) for event in shop.published]
            assert sorted(await StreamView(nats.url).ids()) == sorted(published)
    errors = [line["event"] for line in logs if line["log_level"] == "error"]
    assert errors
    assert all("another database publishes into the stream" in error for error in errors)


async def test_a_member_that_only_publishes_has_no_lanes(
    nats: NatsServer, new_database: NewDatabase
) -> None:
    url = new_database("books")
    async with (
        Node("books", url, nats.url, publishes=[]) as _,
        bystander(nats.url, "reads") as reads,
        Node("books", url, nats.url, publishes=[BookSold], member="publishes"),
    ):

        async def is_heard() -> bool:
            return "publishes" in reads.living

        await eventually(is_heard)
        assert len(reads.lanes) == LANES


async def test_the_older_database_stays_if_members_of_two_joined_at_once(nats: NatsServer) -> None:
    older, younger = uuid7(), uuid7()
    async with (
        bystander(nats.url, "a", ttl_seconds=2) as a,
        bystander(nats.url, "b", ttl_seconds=2) as b,
    ):
        # Each has joined before it received the announcement of the other database.
        a.database, b.database = younger, older

        async def a_is_barred() -> bool:
            return a.barred.is_set() and not a.lanes and len(b.lanes) == LANES

        await eventually(a_is_barred)
        assert (b.refused, b.joined.is_set(), a.joined.is_set()) == ("", True, False)


@pytest.mark.parametrize("said", ["", ', "database": null'])
async def test_an_older_version_that_names_no_database_is_a_member_like_others(
    nats: NatsServer, said: str
) -> None:
    async with bystander(nats.url, "new") as new:
        new.database = uuid7()
        await announce(nats.url, "old", f'{{"version": "1", "ttl": 60{said}}}'.encode())

        async def shares() -> bool:
            return len(new.lanes) == LANES // 2

        await eventually(shares)
        assert new.refused == ""


async def test_a_restored_copy_is_the_same_database(nats: NatsServer, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/books.db"
    async with Shop(f"sqlite:///{tmp_path}/shop.db") as shop:
        shop.start_relay(nats.url)
        async with Node("books", url, nats.url, router=accountant()) as before:
            await shop.sell(range(20))
            await shop.sent()
            await before.settled()
        shutil.copy(tmp_path / "books.db", tmp_path / "restored.db")
        restored = f"sqlite:///{tmp_path}/restored.db"
        async with Node("books", restored, nats.url, router=accountant()) as after:
            await shop.sell(range(20, 40))
            await shop.sent()
            await after.settled()
            assert (len(await after.journal()), after.path.refused) == (40, "")
