"""Broker and database server: restarts, their state, and a folder for each kind of database."""

import asyncio
import socket
from collections.abc import Callable

import psycopg
import pytest
from rich.console import Console

from devkit.commands.logs import choose_logs
from devkit.commands.ps import state_table
from devkit.commands.run import address_table
from devkit.platform import Platform
from devkit.state import read_state
from devkit.workspace import Workspace
from localservers import free_port

Said = list[tuple[str, str]]


@pytest.fixture(autouse=True)
def service(shop: Workspace, write_service: Callable[..., None], desk: str) -> None:
    """A service with a database."""
    database = 'database_url: SecretStr = SecretStr("sqlite:///x.db")\n'
    write_service(desk, http=free_port(), settings=database)


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(100):
        while not holds():
            await asyncio.sleep(0.02)


def plain(table: object, width: int) -> list[str]:
    output = Console(width=width, color_system=None, soft_wrap=True, highlight=False)
    with output.capture() as capture:
        output.print(table)
    return capture.get().splitlines()


async def test_a_broker_whose_port_is_taken_is_started_less_and_less_often(
    run: Callable[..., Platform],
) -> None:
    said: Said = []
    platform = run(restart_servers=True, on_event=lambda name, what: said.append((name, what)))
    await platform.start()

    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        platform.broker.kill()
        taken.bind(("127.0.0.1", platform.broker.port))
        taken.listen()
        await until(lambda: len(said) == 3)
    await until(lambda: platform.broker.running)

    port = platform.broker.port
    assert {name for name, _ in said} == {"nats"}
    assert said[0][1] == "ended; starting it again in 0.25 s"
    assert said[1][1].startswith(f"port {port} is in use")
    assert [what.rsplit(" in ", 1)[1] for _, what in said[1:3]] == ["0.5 s", "1 s"]


async def test_a_database_server_that_dies_is_told_of_and_started_again(
    run: Callable[..., Platform],
) -> None:
    said: Said = []
    platform = run(
        database="postgres",
        restart_servers=True,
        on_event=lambda name, what: said.append((name, what)),
    )
    await platform.start()
    postgres = platform.postgres
    assert postgres is not None

    postgres.kill()

    await until(lambda: ("postgres", "ended; starting it again in 0.25 s") in said)
    await until(lambda: postgres.running)


async def test_each_kind_of_database_keeps_its_own_stream_and_its_own_mark_of_seeds(
    run: Callable[..., Platform],
) -> None:
    logs = []
    marks = []
    for database in ("sqlite", "postgres"):
        platform = run(database=database)
        await platform.start()
        logs.append(platform.broker.log)
        marks.append(platform.folder("seeded"))
        await platform.stop()
        assert choose_logs(platform.data, "nats") == {"nats": logs[-1]}

    assert len(set(logs)) == len(set(marks)) == 2


async def test_a_service_that_another_program_runs_has_its_database_too(
    run: Callable[..., Platform], desk: str
) -> None:
    platform = run(database="postgres", leave_out=(desk,))
    await platform.start()

    url = platform.databases_left_out()[desk].replace("+psycopg", "")
    with psycopg.connect(url) as connection:
        assert connection.info.dbname == desk


async def test_a_server_that_is_down_is_shown_and_no_success(run: Callable[..., Platform]) -> None:
    platform = run()
    await platform.start()
    await platform.wait_ready(100)
    state = read_state(platform.data)
    assert state is not None
    table, well = await state_table(state)
    assert well

    platform.broker.kill()
    platform.write_state()

    state = read_state(platform.data)
    assert state is not None
    table, well = await state_table(state)
    assert not well
    assert [line.split()[:2] for line in plain(table, 80) if "nats" in line] == [["nats", "down"]]


async def test_no_address_is_cut_on_a_narrow_terminal(
    run: Callable[..., Platform], desk: str
) -> None:
    platform = run(database="postgres", replicas={desk: 2})
    await platform.start()
    state = read_state(platform.data)
    assert state is not None
    assert platform.postgres is not None

    narrow = "\n".join(plain(address_table(platform), 30))
    shown, _ = await state_table(state)
    lines = plain(shown, 80)

    for process in platform.processes:
        assert process.http_url in narrow
        assert any(f" {process.http_port} " in line for line in lines)
    for server in (platform.broker, platform.postgres):
        assert f":{server.port}" in narrow
        assert any(f" {server.port} " in line for line in lines)
    assert "…" not in "\n".join(lines)
