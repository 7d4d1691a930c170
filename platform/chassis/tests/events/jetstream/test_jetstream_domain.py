"""Streams may be in another JetStream domain than that of the server that services connect to."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from bookshop import Node, TestSettings, accountant, eventually, sold
from reading import has_taken, taken_ids
from relaying import StreamView, in_order

from bookstore.v1 import BookReturned, BookSold
from chassis.events.wire.lanes import LANES
from localservers import NatsServer, free_port

Servers = tuple[NatsServer, NatsServer]


@pytest.fixture
def hub_and_leaf(tmp_path: Path) -> Iterator[Servers]:
    """Two servers with a domain each, of which services connect to the leaf."""
    port = free_port()
    of_hub = f"jetstream {{ domain: hub }}\nleafnodes {{ listen: 127.0.0.1:{port} }}\n"
    of_leaf = (
        "jetstream { domain: leaf }\n"
        f'leafnodes {{ remotes: [{{ url: "nats-leaf://127.0.0.1:{port}" }}] }}\n'
    )
    with (
        NatsServer(tmp_path / "hub", config=of_hub) as hub,
        NatsServer(tmp_path / "leaf", config=of_leaf) as leaf,
    ):
        yield hub, leaf


async def test_events_take_effect_through_a_leaf_whose_hub_keeps_the_streams(
    hub_and_leaf: Servers, new_database: Callable[[str], str]
) -> None:
    hub, leaf = hub_and_leaf
    settings = TestSettings(nats_domain="hub")
    types = (BookSold, BookReturned)
    url = new_database("books")
    async with (
        Node(
            "bookstore", new_database("shop"), leaf.url, publishes=types, settings=settings
        ) as shop,
        Node("books", url, leaf.url, router=accountant(), settings=settings) as one,
        Node("books", url, hub.url, router=accountant(), settings=settings) as other,
    ):
        published = await shop.publish(*(sold(n) for n in range(60)))
        await has_taken(one, 60)
        assert in_order(await taken_ids(one), published)

        async def shared() -> bool:
            return [len(node.path.readers[0].lanes) for node in (one, other)] == [LANES // 2] * 2

        await eventually(shared)
    assert set(await stream_names(hub)) == {"bookstore", "slipway-members"}
    assert await stream_names(leaf) == []


async def stream_names(server: NatsServer) -> list[str]:
    names: list[str] | None = (await StreamView(server.url).api("STREAM.NAMES"))["streams"]
    return names or []
