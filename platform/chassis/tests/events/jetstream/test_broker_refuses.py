"""A connection that the server has closed permanently, as on most errors, is made again."""

import asyncio
import os
import signal
from collections.abc import Callable, MutableMapping, Sequence
from pathlib import Path
from typing import Any

from bookshop import Node, TestSettings, accountant, eventually, sold
from nats.aio.msg import Msg
from reading import has_taken, taken_ids
from relaying import TYPES, Shop, in_order
from structlog.testing import capture_logs

from chassis.events.jetstream.broker import Broker
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.wire.lanes import LANES
from localservers import NatsServer

PATIENT = TestSettings(member_ttl_seconds=60, relay_sweep_seconds=60, relay_reconcile_seconds=60)
REFUSE_ALL = "authorization { user: other, password: other }\n"


async def test_readers_and_members_continue_after_their_connection_was_refused(
    tmp_path: Path, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    with NatsServer(tmp_path / "nats", config="debug: false\n") as nats:
        async with Shop(new_database("shop")) as shop:
            shop.start_relay(nats.url)
            await shop.sell(range(10))
            nodes = [
                Node("books", url, nats.url, router=accountant(), settings=PATIENT)
                for _ in range(2)
            ]
            async with nodes[0], nodes[1]:
                await has_taken(nodes[0], 10)
                with capture_logs() as logs:
                    await refuse_for_a_while(nats, tmp_path / "nats" / "nats.conf", nodes)
                logged = {line["event"] for line in logs}
                assert {"broker closed the connection; reconnecting", "broker connected"} <= logged
                await shop.sell(range(10, 60))
                await has_taken(nodes[0], 60)
                assert in_order(await taken_ids(nodes[0]), shop.published)
                # The members receive each other's announcements over the new connections.
                for node in nodes:
                    await reads(node, LANES // 2)
                await nodes[0].stop()
                await reads(nodes[1], LANES)


async def test_a_connection_that_the_broker_has_reset_is_closed_without_an_error(
    nats: NatsServer,
) -> None:
    broker = Broker(NatsOptions(nats.url), "books")
    running = asyncio.create_task(broker.run())
    await broker.connected.wait()
    running.cancel()
    client = broker.client
    client.abort_socket()
    await asyncio.sleep(0)
    await client.send_commands(b"PING\r\n")
    await broker.close()
    assert client.is_closed


async def test_a_subject_that_the_broker_denies_is_logged_once(tmp_path: Path) -> None:
    permissions = 'permissions: {subscribe: {deny: "slipway.relay.books"}}'
    users = f"authorization {{ users: [{{user: books, password: own, {permissions}}}] }}\n"
    with NatsServer(tmp_path / "nats", config=users) as nats, capture_logs() as logs:
        broker = Broker(NatsOptions(nats.url, user="books", password=lambda: "own"), "books")

        async def hear(_message: Msg) -> None:
            raise AssertionError

        async def was_told() -> bool:
            return bool(denials(logs))

        for _ in range(2):
            broker.subscribe("slipway.relay.books", hear)
        running = asyncio.create_task(broker.run())
        await eventually(was_told)
        await broker.client.flush()
        assert len(denials(logs)) == 1
        assert "slipway.relay.books" in denials(logs)[0]["error"]
        running.cancel()
        await broker.close()


def denials(logs: Sequence[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    return [line for line in logs if line["event"].startswith("broker denied access to a subject")]


async def test_a_commit_still_wakes_another_replicas_relay(
    tmp_path: Path, new_database: Callable[[str], str]
) -> None:
    url = new_database("shop")
    with NatsServer(tmp_path / "nats", config="debug: false\n") as nats:
        nodes = [
            Node("bookstore", url, nats.url, publishes=TYPES, settings=PATIENT) for _ in range(2)
        ]
        async with nodes[0], nodes[1]:
            await refuse_for_a_while(nats, tmp_path / "nats" / "nats.conf", nodes)

            async def one_leads() -> bool:
                return any(node.path.relay and node.path.relay.leading for node in nodes)

            await eventually(one_leads)
            for number, node in enumerate(nodes):
                await node.publish(sold(number))
                await node.settled()


async def refuse_for_a_while(nats: NatsServer, config: Path, nodes: list[Node]) -> None:
    """Refuse connections until each node has lost its own, then accept them again."""
    clients = [node.path.broker.client for node in nodes]

    async def all_connected() -> bool:
        return all(node.path.broker_connected() for node in nodes)

    async def all_closed() -> bool:
        return all(client.is_closed for client in clients)

    clients = []
    await eventually(all_connected)
    clients = [node.path.broker.client for node in nodes]
    reload(nats, config, REFUSE_ALL)
    await eventually(all_closed)
    reload(nats, config, "")
    await eventually(all_connected)


def reload(nats: NatsServer, config: Path, more: str) -> None:
    command = Path(f"/proc/{nats.pid}/cmdline").read_text(encoding="utf-8").split("\0")
    name = command[command.index("-n") + 1]
    # A reload must repeat the settings of the command line.
    config.write_text(
        f"server_name: {name}\nhost: 127.0.0.1\nport: {nats.port}\n"
        f'jetstream {{ store_dir: "{config.parent.absolute()}/jetstream" }}\n{more}',
        encoding="utf-8",
    )
    os.kill(nats.pid, signal.SIGHUP)


async def reads(node: Node, lanes: int) -> None:
    async def holds() -> bool:
        return len(node.path.readers[0].lanes) == lanes

    await eventually(holds)
