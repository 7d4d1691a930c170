"""The servers, data and processes of a comparison."""

import json
import os
import sys
import uuid
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Literal, Self, TypeVar

import bench
from bench.orders import write_orders
from bench.processes import run_with
from bench.worker import Sample, Work
from devkit.errors import DevkitError
from localservers import NatsServer, PostgresServer

__all__ = ["DatabaseKind", "Peers", "Stage"]

DatabaseKind = Literal["sqlite", "postgres"]
T = TypeVar("T")

_SECONDS = 300.0
_TINY = 40
_ORDERS = 12_000


class Peers:
    """The environment of the libraries that the platform is compared with."""

    python = Path(sys.prefix) / "bench" / "bin" / "python"

    @classmethod
    def installed(cls) -> bool:
        """Return whether `make bench` has installed them."""
        return cls.python.exists()


class Stage:
    """The surroundings of a comparison's contenders. Each part starts when it is first used.

    Args:
        folder: an empty folder.
        tiny: whether each contender does only a little work, to see that it works.
    """

    def __init__(self, folder: Path, *, tiny: bool = False) -> None:
        self.folder = folder
        self.tiny = tiny
        self._exits = ExitStack()
        self._kept: dict[str, object] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._exits.close()

    def count(self, full: int) -> int:
        """Return the number of units of work, which is `full` unless the stage is tiny."""
        return min(full, _TINY) if self.tiny else full

    @cached_property
    def orders(self) -> Path:
        """The file of orders of the Complete Journey sample."""
        file = self.folder / "orders.jsonl"
        write_orders(file, self.count(_ORDERS))
        return file

    @cached_property
    def nats(self) -> NatsServer:
        """The broker."""
        return self._exits.enter_context(NatsServer(self.folder / "nats"))

    @cached_property
    def postgres(self) -> PostgresServer:
        """The database server, whose commits are synced to the disk."""
        server = PostgresServer(self.folder / "postgres", durable=True)
        return self._exits.enter_context(server)

    def database(self, kind: DatabaseKind, *, asynchronous: bool = False) -> str:
        """Return the URL of a new database, for synchronous or asynchronous drivers."""
        name = f"bench_{uuid.uuid4().hex[:12]}"
        if kind == "sqlite":
            driver = "+aiosqlite" if asynchronous else ""
            return f"sqlite{driver}:///{self.folder / name}.db"
        url = self.postgres.create_database(name)
        return url.replace("+psycopg", "+asyncpg") if asynchronous else url

    def servers(self, kind: DatabaseKind) -> dict[str, int]:
        """Return the ids of the processes of the broker and of the database's server."""
        servers = {"nats-server": self.nats.pid}
        if kind == "postgres":
            servers["postgres"] = self.postgres.pid
        return servers

    def keep(self, name: str, make: Callable[[ExitStack], T]) -> T:
        """Return what `make` makes once for this stage, and ends with it."""
        if name not in self._kept:
            self._kept[name] = make(self._exits)
        kept: T = self._kept[name]  # type: ignore[assignment]
        return kept

    def run(self, module: str, work: Work, *, peers: bool = False) -> Sample:
        """Run a contender in a process of its own and return its sample.

        Raises:
            DevkitError: it failed, a server ended meanwhile, or its environment is not installed.
        """
        if peers and not Peers.installed():
            raise DevkitError(f"{Peers.python} does not exist: run `make bench`, which installs it")
        python = Peers.python if peers else Path(sys.executable)
        work = replace(work, orders=work.orders or str(self.orders))
        sources = str(Path(bench.__file__).parents[1])
        try:
            done = run_with(
                work.servers,
                [python, "-m", f"bench.{module}", json.dumps(asdict(work))],
                environment={**os.environ, **({"PYTHONPATH": sources} if peers else {})},
                folder=self.folder,
                seconds=_SECONDS,
            )
        except DevkitError as error:
            raise DevkitError(f"{module} {work.variant}: {error}") from None
        if done.returncode != 0:
            output = f"{done.stdout[-2000:]}{done.stderr[-4000:]}".strip()
            raise DevkitError(f"{module} {work.variant} failed:\n{output}")
        return Sample(**json.loads(done.stdout.splitlines()[-1]))
