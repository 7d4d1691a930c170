"""The whole platform on this machine: the broker, the database server, and every service.

async with Platform(PlatformOptions(data=folder, free_ports=True)) as platform:
    await platform.wait_ready()
    print(platform.url("gateway"))
"""

import asyncio
import contextlib
import json
import os
import tempfile
import time
from collections.abc import Callable, Coroutine, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Self

import psutil

from chassis.testing import NatsServer, PostgresServer, ServerFailed
from devkit.errors import DevkitError
from devkit.log_tail import LogTail, set_logs_aside
from devkit.ports import FixedPort, ReplicaPorts, assign_ports, check_free
from devkit.service_process import POLL_SECONDS, ServiceProcess
from devkit.services import ServiceDefinition, check_names, nats_port, read_services
from devkit.state import (
    PlatformState,
    ServerState,
    ServiceState,
    read_state,
    remove_state,
    write_state,
)
from devkit.supervisor import Server, supervise, supervise_servers
from devkit.threads import run_to_its_end
from devkit.workspace import Workspace, find_workspace

__all__ = ["Platform", "PlatformOptions"]

_HIGHEST_PORT = 65535


@dataclass(frozen=True)
class PlatformOptions:
    """What to run, and where.

    Args:
        data: the folder of databases, streams, logs and the state file.
        services: only these; all by default.
        replicas: how many of a service, 1 by default.
        leave_out: services that somebody else runs, on their known ports; the others call them.
        ports: moved ports: `{"orders.http": 8181, "nats": 4333}`.
        free_ports: free ports for everything that `ports` doesn't name.
        database: one SQLite file per service, or one database per service on a PostgreSQL.
        environment: variables for every service, on top of this process's own.
        broker_keys: each service connects by a key of its own, with no more rights than it needs,
            and the streams are made as a release makes them.
        watch: restart a service whose code has changed.
        restart: start again, with back-off, a service that dies.
        restart_servers: the same for the broker and the database server.
        on_line: called with a process's name and each line it writes, in the order of its log.
        on_event: called with a process's name and what the runner did to it.
        workspace: found from the current folder by default.
    """

    data: Path
    services: tuple[str, ...] | None = None
    replicas: Mapping[str, int] = field(default_factory=dict)
    leave_out: tuple[str, ...] = ()
    ports: Mapping[str, int] = field(default_factory=dict)
    free_ports: bool = False
    database: Literal["sqlite", "postgres"] = "sqlite"
    environment: Mapping[str, str] = field(default_factory=dict)
    broker_keys: bool = False
    watch: bool = False
    restart: bool = True
    restart_servers: bool = False
    on_line: Callable[[str, str], None] | None = None
    on_event: Callable[[str, str], None] | None = None
    workspace: Workspace | None = None


class Platform:
    """A platform and its processes. Nothing of it outlives the process that started it (Linux)."""

    def __init__(self, options: PlatformOptions) -> None:
        self.options = options
        self.workspace = options.workspace or find_workspace()
        self.data = options.data.absolute()
        self.processes: list[ServiceProcess] = []
        self.postgres: PostgresServer | None = None
        self._broker: NatsServer | None = None
        self._definitions: tuple[ServiceDefinition, ...] = ()
        self._background: list[asyncio.Task[None]] = []
        self._follower: list[asyncio.Task[None]] = []
        self._readiness: dict[str, asyncio.Task[None]] = {}
        self._server_pids: dict[str, int] = {}
        self._tails: dict[str, LogTail] = {}
        self._told_others = False
        self._started_at = datetime.now(UTC).isoformat(timespec="seconds")

    @property
    def broker(self) -> NatsServer:
        """The broker's process."""
        if self._broker is None:
            raise DevkitError("the platform was not started")
        return self._broker

    def of(self, service: str) -> list[ServiceProcess]:
        """The replicas of a service; none if it was left out."""
        return [process for process in self.processes if process.service == service]

    def url(self, service: str) -> str:
        """The HTTP address of a service's first replica."""
        for process in self.of(service):
            return process.http_url
        raise DevkitError(f"{service} is not run here")

    def folder(self, name: str) -> Path:
        """What belongs to one kind of database: a stream, for example, to what has written it."""
        kind = self.options.database
        return self.data / (name if kind == "sqlite" else f"{name}-{kind}")

    def databases_left_out(self) -> dict[str, str]:
        """The URL of the database of every service that somebody else runs."""
        return {
            service.name: self._database_url(service)
            for service in self._definitions
            if service.has_database and not self.of(service.name)
        }

    async def start(self) -> None:
        """Start everything; returns once the processes run, ready or not.

        Raises DevkitError, with everything stopped again, if something can't be started.
        """
        try:
            await self._start()
        except BaseException:
            await self.stop()
            raise

    async def wait_ready(
        self, timeout: float = 60, on_ready: Callable[[str], None] | None = None
    ) -> None:
        """Return once every service says it is ready. Raises DevkitError naming who does not.

        `on_ready` is called with the name of each process as it gets ready.
        """

        async def wait(process: ServiceProcess) -> None:
            await process.wait_ready(timeout)
            if on_ready is not None:
                on_ready(process.name)

        results = await asyncio.gather(*map(wait, self.processes), return_exceptions=True)
        errors = [str(result) for result in results if isinstance(result, DevkitError)]
        if errors:
            raise DevkitError("\n".join(errors))
        for result in results:
            if isinstance(result, BaseException):
                raise result

    async def is_ready(self) -> bool:
        """Whether every service says now that it is ready."""
        return all(await asyncio.gather(*(process.is_ready() for process in self.processes)))

    async def stop(self) -> None:
        """Stop callers before those they call, then the broker and the database server."""
        try:
            await self._stop_services()
        finally:  # also if nobody is there any more to print a last line for
            await self._stop_servers()

    async def _stop_services(self) -> None:
        await _end(self._cancel_background())
        for group in self._callers_first():
            await asyncio.gather(*(process.stop() for process in group))
        await _end(self._follower)
        self._pass_on_lines()

    async def _stop_servers(self) -> None:
        await _end(self._follower)
        stops = (asyncio.to_thread(server.stop) for server in self._servers().values())
        results = await asyncio.gather(*stops, return_exceptions=True)
        if self._told_others:
            remove_state(self.data)
            self._told_others = False
        for result in results:
            if isinstance(result, BaseException):
                raise result

    def kill(self) -> None:
        """SIGKILL to everything: it is safe at any moment, only less polite."""
        self._cancel_background()
        for process in self.processes:
            process.wanted = False
            process.kill()
        for server in self._servers().values():
            server.kill()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    async def restart(self, services: Iterable[str]) -> None:
        """Stop every replica of these services, and start it again."""
        chosen = set(services)
        await asyncio.gather(
            *(self._restart(process) for process in self.processes if process.service in chosen)
        )

    def write_state(self) -> None:
        """Tell other terminals what runs."""
        urls = {"nats": self.broker.url}
        if self.postgres is not None:
            urls["postgres"] = self.postgres.url()
        servers = [
            ServerState(name, urls[name], self._server_pid(name), str(server.log))
            for name, server in self._servers().items()
        ]
        state = PlatformState(
            runner_pid=os.getpid(),
            runner_started=psutil.Process().create_time(),
            started_at=self._started_at,
            servers=servers,
            services=[
                ServiceState(
                    name=process.name,
                    service=process.service,
                    replica=process.replica,
                    pid=process.pid,
                    http_port=process.http_port,
                    grpc_port=process.grpc_port,
                    restarts=process.restarts,
                    log=str(process.log),
                    environment=process.environment,
                )
                for process in self.processes
            ],
        )
        write_state(self.data, state)
        self._told_others = True

    async def _start(self) -> None:
        self._refuse_a_second_one()
        self._make_folders()
        options = self.options
        self._definitions = await asyncio.to_thread(read_services, self.workspace)
        check_names(self._definitions, (*(options.services or ()), *options.leave_out))
        check_names(self._definitions, options.replicas)
        _check_replicas(options.replicas)
        chosen = [service for service in self._definitions if self._is_chosen(service)]
        self._check_moved_ports()
        ports, fixed = assign_ports(
            chosen, replicas=options.replicas, ports=options.ports, free_ports=options.free_ports
        )
        broker_port = options.ports.get("nats", 0 if options.free_ports else nats_port())
        postgres_port = options.ports.get("postgres", 0)
        servers = {"nats": broker_port}
        if options.database == "postgres":
            servers["postgres"] = postgres_port
        check_free([*(FixedPort(port, name) for name, port in servers.items() if port), *fixed])
        await run_to_its_end(self._start_servers, broker_port, postgres_port)
        set_logs_aside(self.data)
        self.processes = [
            self._process(service, replica, ports)
            for service in chosen
            for replica in range(options.replicas.get(service.name, 1))
        ]
        if options.broker_keys:
            await run_to_its_end(self._apply_streams)
        for process in self.processes:
            process.start()
            await asyncio.sleep(0)  # it takes a while on a busy machine, and somebody may stop it
        self.write_state()
        self._start_background()

    def _make_folders(self) -> None:
        try:
            (self.data / "data").mkdir(parents=True, exist_ok=True)
            (self.data / "logs").mkdir(exist_ok=True)
            with tempfile.TemporaryFile(dir=self.data):
                pass
        except OSError as error:
            raise DevkitError(
                f"{self.data} cannot be written ({error.strerror}), and databases, streams and logs"
                " go there: name another folder with SLIPWAY_STATE=…"
            ) from error

    def _refuse_a_second_one(self) -> None:
        state = read_state(self.data)
        if state is not None and state.alive:
            raise DevkitError(
                f"a platform with its data in {self.data} is running already"
                f" (process {state.runner_pid}, since {state.started_at})."
                " `slipway ps` shows it; stop it with Ctrl-C in its terminal."
            )

    def _is_chosen(self, service: ServiceDefinition) -> bool:
        wanted = self.options.services is None or service.name in self.options.services
        return wanted and service.name not in self.options.leave_out

    def _check_moved_ports(self) -> None:
        known = ["nats", "postgres"]
        for service in self._definitions:
            known += [f"{service.name}.http", f"{service.name}.grpc"]
        for name, port in self.options.ports.items():
            if name not in known:
                raise DevkitError(f"there is no port {name}; there are: {', '.join(known)}")
            if port > _HIGHEST_PORT:
                raise DevkitError(f"--port {name}={port}: ports end at {_HIGHEST_PORT}")

    def _servers(self) -> dict[str, Server]:
        servers = {"nats": self._broker, "postgres": self.postgres}
        return {name: server for name, server in servers.items() if server is not None}

    def _server_pid(self, name: str) -> int:
        """Also of one that has ended: that it is no more says that it is down."""
        with contextlib.suppress(ServerFailed):
            self._server_pids[name] = self._servers()[name].pid
        return self._server_pids.get(name, 0)

    def _start_servers(self, broker_port: int, postgres_port: int) -> None:
        config = self._authorization() if self.options.broker_keys else ""
        self._broker = NatsServer(self.folder("nats"), broker_port, config=config)
        try:
            self._broker.start()
            if self.options.database == "postgres":
                self.postgres = PostgresServer(self.data / "postgres", postgres_port)
                self.postgres.start()
                self._create_databases()
        except ServerFailed as error:
            raise DevkitError(str(error)) from error

    @property
    def _keys(self) -> Path:
        return self.data / "keys"

    def _authorization(self) -> str:
        """The broker's users: a key for each service and one for the release."""
        from devkit.broker.keys import make_keys
        from devkit.broker.permissions import permissions_of_all
        from devkit.broker.server_config import authorization
        from devkit.describing.reading import describe_platform

        allowed = permissions_of_all(describe_platform(self.workspace))
        return authorization(allowed, {k.name: k.public for k in make_keys(self._keys, allowed)})

    def _apply_streams(self) -> None:
        from devkit.broker.apply import apply_streams

        release = {"APP_NATS_NKEY_SEED_FILE": str(self._keys / "release.nk")}
        apply_streams(
            (process.package, process.environment | release)
            for process in self.processes
            if process.replica == 0
        )

    def _create_databases(self) -> None:
        """Also for services that somebody else runs."""
        import psycopg

        assert self.postgres is not None
        for service in self._definitions:
            if service.has_database:
                with contextlib.suppress(psycopg.errors.DuplicateDatabase):
                    self.postgres.create_database(service.name)

    def _process(
        self,
        service: ServiceDefinition,
        replica: int,
        ports: Mapping[tuple[str, int], ReplicaPorts],
    ) -> ServiceProcess:
        own = ports[service.name, replica]
        variables = {
            "PYTHONUNBUFFERED": "1",
            "APP_HTTP_PORT": str(own.http),
            "APP_GRPC_PORT": str(own.grpc),
            "APP_NATS_URL": self.broker.url,
            "APP_TARGETS": json.dumps(self._targets(service, ports)),
        }
        if service.has_database:
            variables["APP_DATABASE_URL"] = self._database_url(service)
        if self.options.broker_keys:
            variables["APP_NATS_NKEY_SEED_FILE"] = str(self._keys / f"{service.name}.nk")
            variables["APP_STREAMS"] = "verify"
        return ServiceProcess(
            service.name,
            replica,
            package=service.package,
            http_port=own.http,
            grpc_port=own.grpc if service.grpc_port is not None else None,
            environment=variables | dict(self.options.environment),
            log=self.data / "logs" / f"{service.name}-{replica}.log",
            cwd=self.workspace.root,
            kept_up=self.options.restart,
        )

    def _targets(
        self, service: ServiceDefinition, ports: Mapping[tuple[str, int], ReplicaPorts]
    ) -> dict[str, str]:
        """All replicas of each called service; one that is not run here where it would be."""
        targets = dict(service.targets)
        for called in targets:
            run_here = [own.grpc for (name, _), own in ports.items() if name == called]
            moved = self.options.ports.get(f"{called}.grpc")
            if run_here:
                addresses = ",".join(f"127.0.0.1:{port}" for port in run_here)
                targets[called] = f"ipv4:{addresses}"
            elif moved is not None:
                targets[called] = f"ipv4:127.0.0.1:{moved}"
        return targets

    def _database_url(self, service: ServiceDefinition) -> str:
        if self.postgres is not None:
            return self.postgres.url(service.name)
        from chassis.database.engine import sqlite_url

        return sqlite_url(self.data / "data" / f"{service.name}.db")

    def _callers_first(self) -> list[list[ServiceProcess]]:
        """The processes in groups: nobody in a later group calls anybody in an earlier one."""
        calls = {service.name: set(service.targets) for service in self._definitions}
        left = {process.service for process in self.processes}
        groups = []
        while left:
            called = set().union(*(calls[name] for name in left))
            # Services that call each other in a circle stop together.
            group = (left - called) or left
            groups.append([process for process in self.processes if process.service in group])
            left -= group
        return groups

    def _start_background(self) -> None:
        tasks = [self._keep_state()]
        if self.options.on_line is not None:
            self._tails = {process.name: LogTail(process.log) for process in self.processes}
            self._follower = [self._in_background(self._follow_logs())]
        if self.options.restart:
            tasks.append(supervise(self.processes, self._tell))
        if self.options.restart_servers:
            tasks.append(supervise_servers(self._servers(), self._tell))
        if self.options.watch:
            tasks.append(self._watch())
        self._background = [self._in_background(task) for task in tasks]

    def _in_background(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._tell_of_failure)
        return task

    def _cancel_background(self) -> list[asyncio.Task[None]]:
        tasks = [*self._background, *self._readiness.values()]
        for task in tasks:
            task.cancel()
        return tasks

    def _tell_of_failure(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            self._tell("runner", f"{type(error).__name__}: {error}")

    def _tell(self, name: str, what: str) -> None:
        if self.options.on_event is not None:
            self._pass_on_lines()  # what it wrote came before what was done to it
            self.options.on_event(name, what)

    async def _keep_state(self) -> None:
        """Writes the state whenever a process was started again."""
        known = self._pids()
        while True:
            await asyncio.sleep(2 * POLL_SECONDS)
            if known != (known := self._pids()):
                self.write_state()

    def _pids(self) -> list[int]:
        return [
            *(process.pid for process in self.processes),
            *(self._server_pid(name) for name in self._servers()),
        ]

    async def _follow_logs(self) -> None:
        while True:
            self._pass_on_lines()
            await asyncio.sleep(POLL_SECONDS)

    def _pass_on_lines(self) -> None:
        if self.options.on_line is not None:
            for name, tail in self._tails.items():
                for line in tail.new_lines():
                    self.options.on_line(name, line)

    async def _watch(self) -> None:
        from devkit.watch import changed_services

        def on_polling(reason: str) -> None:
            self._tell(
                "runner",
                f"the system does not tell of changed files ({reason}): they are looked at once a "
                "second; `slipway doctor` says what to do",
            )

        changes = changed_services(self.workspace, self._definitions, on_polling)
        async for services, files in changes:
            here = [name for name in services if self.of(name)]
            names = ", ".join(sorted({file.name for file in files}))
            for name in here:
                self._tell(name, f"{names} changed, restarting")
            began = time.monotonic()
            await self.restart(here)
            for process in (process for name in here for process in self.of(name)):
                if process.name in self._readiness:  # it waits for a run that is no more
                    self._readiness[process.name].cancel()
                self._readiness[process.name] = self._in_background(
                    self._tell_when_ready(process, began)
                )

    async def _tell_when_ready(self, process: ServiceProcess, began: float) -> None:
        try:
            await process.wait_ready()
        except DevkitError as error:
            self._tell(process.name, str(error))
        else:
            self._tell(process.name, f"ready again after {time.monotonic() - began:.1f} s")

    async def _restart(self, process: ServiceProcess) -> None:
        # What is running may be killed at any moment, so a developer need not wait for it long.
        await process.stop(grace=1.5)
        process.start()


def _check_replicas(replicas: Mapping[str, int]) -> None:
    from chassis.events.wire.lanes import LANES

    for name, count in replicas.items():
        if count > LANES:
            raise DevkitError(
                f"--replicas {name}={count}: replicas share {LANES} lanes,"
                f" so more than {LANES} of them have nothing to do"
            )


async def _end(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
