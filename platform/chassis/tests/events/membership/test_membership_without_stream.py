"""A member that cannot read the stream of members joins by the announcements it receives."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

from bookshop import Node, TestSettings, accountant, eventually
from reading import has_taken, taken_ids
from relaying import Shop, StreamView, in_order

from chassis.events.jetstream.broker import Broker
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.membership.members import Members
from chassis.events.waiting import end
from chassis.events.wire.lanes import LANES
from localservers import NatsServer, free_port

DENIED = '"$JS.API.*.*.slipway-members"'
NO_STREAM = (
    "authorization { users: [{ user: a, password: b, "
    f"permissions: {{ publish: {{ deny: [{DENIED}] }} }} }}] }}\n"
)


async def test_replicas_share_the_lanes_without_that_stream(
    tmp_path: Path, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    with NatsServer(tmp_path / "nats", config=NO_STREAM) as nats:
        nats_url = nats.url.replace("//", "//a:b@")
        async with Shop(new_database("shop")) as shop:
            shop.start_relay(nats_url)
            await shop.sell(range(20))
            nodes = [Node("books", url, nats_url, router=accountant()) for _ in range(2)]
            async with nodes[0], nodes[1]:
                for node in nodes:
                    await reads(node, LANES // 2)
                await shop.sell(range(20, 60))
                await has_taken(nodes[0], 60)
                assert in_order(await taken_ids(nodes[0]), shop.published)


async def test_a_server_without_enough_replicas_for_that_stream_does_not_stop_reading(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    three = TestSettings(stream_replicas=3)
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(20))
        async with Node(
            "books", new_database("books"), nats.url, router=accountant(), settings=three
        ) as books:
            await has_taken(books, 20)
            known = await StreamView(nats.url).api("STREAM.NAMES")
            assert known["streams"] == ["bookstore"]


async def test_in_a_cluster_that_stream_is_replicated_and_survives_a_server(
    tmp_path: Path,
) -> None:
    ports = [free_port() for _ in range(3)]
    routes = ", ".join(f'"nats://127.0.0.1:{port}"' for port in ports)
    with ExitStack() as stack:
        servers = [
            stack.enter_context(
                NatsServer(
                    tmp_path / f"nats-{port}",
                    config=f"cluster {{ name: c, listen: 127.0.0.1:{port}, routes: [{routes}] }}\n",
                )
            )
            for port in ports
        ]

        async def has_a_leader() -> bool:
            await StreamView(servers[0].url).api("INFO")
            return True

        await eventually(has_a_leader)
        async with bystander_with_three_replicas(servers[0].url, "first") as first:
            info = await StreamView(servers[0].url).api("STREAM.INFO.slipway-members")
            assert info["config"]["num_replicas"] == 3
            leader = info["cluster"]["leader"]
            await first.leave()
        (holder,) = (server for server in servers if name_of(server) == leader)
        holder.kill()
        survivor = next(server for server in servers if server is not holder)
        async with bystander_with_three_replicas(survivor.url, "second") as second:
            assert len(second.lanes) == LANES


@asynccontextmanager
async def bystander_with_three_replicas(nats_url: str, name: str) -> AsyncIterator[Members]:
    """A member whose stream of members has three replicas, after it has joined."""
    broker = Broker(NatsOptions(nats_url), "books")
    members = Members(broker, service="books", member=name, version="1", ttl_seconds=2, replicas=3)
    tasks = [asyncio.create_task(broker.run()), asyncio.create_task(members.run())]

    async def joined() -> bool:
        return members.joined.is_set()

    try:
        await eventually(joined)
        yield members
    finally:
        await end(tasks)
        await broker.close()


def name_of(server: NatsServer) -> str:
    command = Path(f"/proc/{server.pid}/cmdline").read_text(encoding="utf-8").split("\0")
    return command[command.index("-n") + 1]


async def reads(node: Node, lanes: int) -> None:
    async def holds() -> bool:
        return len(node.path.readers[0].lanes) == lanes

    await eventually(holds)
