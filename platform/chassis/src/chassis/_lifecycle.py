"""The life of a service's process: what starts in which order, and what ends in which.

Both orders are written out in `_Process.start` and `_Process.stop`.
"""

import asyncio
import os
import signal
import sys
import threading
import time
from collections.abc import Awaitable
from typing import TYPE_CHECKING

import structlog
from sqlalchemy.exc import SQLAlchemyError

from chassis import exit_codes
from chassis.database import (
    ConnectionLost,
    Database,
    DatabaseAtFault,
    DatabaseDown,
    ReadTransaction,
    WrongDatabase,
    identity,
    schema,
)
from chassis.database import migrate as migrate_database
from chassis.database.engine import place_of
from chassis.database.migrate import Diverged
from chassis.events.handlers.binding import bind_all
from chassis.events.jobs import bind_job
from chassis.events.path import EventPath
from chassis.events.producer.publisher import Publisher
from chassis.http.app import create_app
from chassis.http.probes import metrics_app
from chassis.http.server import HttpServer
from chassis.ports import METRICS, CannotListen
from chassis.readiness import Readiness
from chassis.rpc.client import Clients
from chassis.rpc.ledger import ledger_service
from chassis.rpc.methods import bind
from chassis.rpc.server import RpcServer
from chassis.settings import ServiceSettings, without_credentials
from chassis.telemetry import logging, tracing

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["migrate", "run"]

_log = structlog.get_logger("chassis")
_DATABASE_RETRY_SECONDS = 1.0
_BROKER_SECONDS = 1.0
_TELEMETRY_SECONDS = 2.0
_LOG_SECONDS = 1.0


def migrate(service: "Service", settings: ServiceSettings, wait_seconds: float = 0) -> int:
    """Bring the service's database to its newest revision; returns the exit code.

    An unavailable database is waited for, for at most `wait_seconds`.
    """
    deadline = time.monotonic() + wait_seconds
    if not service.has_database:
        print(f"{service.name} has no database")
        return 0
    url = settings.database_url.get_secret_value()
    told = False
    try:
        while True:
            try:
                migration = migrate_database(url, service.migrations, service=service.name)
                break
            except (DatabaseDown, TimeoutError) as error:
                if time.monotonic() >= deadline:
                    raise
                if not told:
                    print(without_credentials(f"waiting: {error}"), file=sys.stderr, flush=True)
                told = True
            time.sleep(_DATABASE_RETRY_SECONDS)
    except (WrongDatabase, SQLAlchemyError, Diverged, ValueError) as error:
        print(without_credentials(f"migration failed: {error}"), file=sys.stderr)
        return exit_codes.FAILED
    except (DatabaseDown, TimeoutError) as error:
        print(without_credentials(f"not migrated: {error}"), file=sys.stderr)
        return exit_codes.UNAVAILABLE
    print(migration)
    return exit_codes.OK


def run(service: "Service", settings: ServiceSettings, warnings: list[str]) -> int:
    """Run the service until it is told to stop; returns the exit code.

    The warnings are logged first.
    """
    logging.take_over(service.name, settings)
    for line in warnings:
        _log.warning(line)
    try:
        import uvloop

        loop_factory = uvloop.new_event_loop
    except ImportError:
        loop_factory = None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        code = runner.run(_Process(service, settings).live())
        logging.drain(_LOG_SECONDS)
        # What may still run has been given its time: nobody waits for a thread that hangs, as
        # closing the loop would.
        os._exit(code)


class _Process:
    def __init__(self, service: "Service", settings: ServiceSettings) -> None:
        self._service = service
        self._settings = settings
        self._readiness = Readiness(write_seconds=settings.health_interval_seconds)
        self._told_to_stop = asyncio.Event()
        self._fatal: Exception | None = None
        self._schema_lacks = ""
        self._database: Database | None = None
        self._events: EventPath | None = None
        self._clients: Clients | None = None
        self._http: HttpServer | None = None
        self._metrics: HttpServer | None = None
        self._rpc: RpcServer | None = None
        self._watch: asyncio.Task[None] | None = None

    async def live(self) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled, number)
        starting = asyncio.create_task(self.start())
        stop = asyncio.create_task(self._told_to_stop.wait())
        try:
            await asyncio.wait({starting, stop}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
            else:
                starting.cancel()
                await asyncio.wait({starting})
            await stop
        except (CannotListen, WrongDatabase) as error:
            self._fatal = error
        except Exception as error:
            _log.exception("the start failed")
            self._fatal = error
        stop.cancel()
        if isinstance(self._fatal, (CannotListen, WrongDatabase)):
            _log.error(str(self._fatal))
        elif self._fatal is not None:
            _log.error("stopping", reason=without_credentials(str(self._fatal)))
        await self.stop()
        if isinstance(self._fatal, CannotListen):
            return self._fatal.exit_code
        return exit_codes.OK if self._fatal is None else exit_codes.FAILED

    def _signalled(self, number: int) -> None:
        if self._told_to_stop.is_set():
            os._exit(128 + number)
        self._told_to_stop.set()

    def _die(self, error: Exception) -> None:
        """The process can never work as it is configured, or a part of it is dead."""
        self._fatal = self._fatal or error
        self._told_to_stop.set()

    async def start(self) -> None:
        """From telemetry inward to what takes work.

        It is live at once, and ready when its database can be reached and its servers are up.
        A database that is away is waited for; a broker that is away degrades it only.
        """
        service, settings = self._service, self._settings
        tracing.configure(service.name, settings)
        self._clients = Clients(service.name, service.calls, settings)
        app = create_app(service.name, service.http, settings, self._readiness, self._clients)
        self._closing: asyncio.Event = app.state.closing
        http = HttpServer(app, settings)
        await http.start()
        self._http = http
        if settings.metrics_port is not None:
            metrics = HttpServer(
                metrics_app(), settings, port=settings.metrics_port, variables=METRICS
            )
            await metrics.start()
            self._metrics = metrics

        if service.has_database:
            self._database = await self._open_database()
            app.state.database = self._database
        events = self._make_event_path()

        contracts = [
            (c.full_name, bind(c, implementation, settings, self._clients.stub))
            for c, implementation in service.grpc
        ]
        if events is not None and self._database is not None:
            contracts.append(ledger_service(events.ledger))
        if contracts:
            rpc = RpcServer(contracts, settings, self._database)
            await rpc.start()
            self._rpc = rpc
            self._readiness.on_change(rpc.set_serving)

        if events is not None:
            await events.start()
            self._events = events
            await self._broker_connected(_BROKER_SECONDS)
        self._readiness.depend_on(self._database, self._states)
        if self._events is not None and self._database is not None:
            self._readiness.tell_of_events(self._events.held_up.report)
        await self._readiness.begin()
        self._watch = asyncio.create_task(self._readiness.watch(settings.health_interval_seconds))
        self._watch.add_done_callback(self._watch_ended)
        where = {"http": f"{settings.http_host}:{http.port}"}
        if self._metrics is not None:
            where["metrics"] = f"{settings.http_host}:{self._metrics.port}"
        if self._rpc is not None:
            where["grpc"] = f"{settings.grpc_host}:{self._rpc.port}"
        if self._database is not None:
            where["database"] = place_of(settings.database_url.get_secret_value())
        _log.info("listening", **where)

    def _watch_ended(self, watch: asyncio.Task[None]) -> None:
        error = None if watch.cancelled() else watch.exception()
        if error is not None:
            self._die(RuntimeError(f"readiness is no longer checked: {error!r}"))

    async def _open_database(self) -> Database:
        service, settings = self._service, self._settings
        url = settings.database_url.get_secret_value()
        publisher = Publisher(
            service.name,
            service.publishes,
            format=settings.event_format,
            max_bytes=settings.event_max_bytes,
        )
        database = Database(url, publisher)
        tracing.instrument_engines(database._engine, database._read_engine)
        self._readiness.depend_on(database, self._states)
        waits_for = None
        while True:
            try:
                await database.check()
                found = await self._schema_of(database)
                if not found.missing:
                    await database.identify(service.name)
                    break
                self._schema_lacks = ", ".join(found.missing)
                reason = f"migrations: run `python -m {service.name} migrate`"
            except Diverged as error:
                self._schema_lacks = str(error)
                reason = "migrations that this code can not run"
            except (DatabaseDown, ConnectionLost, DatabaseAtFault, TimeoutError) as error:
                reason = f"the database: {without_credentials(str(error))}"
            if reason != waits_for:
                said = {"lacks": self._schema_lacks} if self._schema_lacks else {}
                _log.warning(f"waiting for {reason}", **said)
                waits_for = reason
            await asyncio.sleep(_DATABASE_RETRY_SECONDS)
        self._schema_lacks = ""
        if found.unknown:
            _log.warning("the database is newer than this code", unknown=", ".join(found.unknown))
        return database

    async def _schema_of(self, database: Database) -> schema.Schema:
        """How the database differs from this code. In development it is migrated.

        Raises:
            DatabaseDown, Diverged, WrongDatabase.
        """
        migrations, name = self._service.migrations, self._service.name
        if self._settings.environment == "development":
            migration = await asyncio.to_thread(
                migrate_database, database.url, migrations, service=name
            )
            return migration.after
        code = schema.Code(migrations)

        def look(tx: ReadTransaction) -> schema.Schema:
            connection = tx.session.connection()
            identity.check(connection, name)
            return schema.compare(connection, code)

        return await database.read(look)

    def _make_event_path(self) -> EventPath | None:
        service, settings = self._service, self._settings
        assert self._clients is not None
        handlers, broadcasts = bind_all(service.events, settings, self._clients.stub)
        if not (handlers or broadcasts or self._database is not None):
            return None
        return EventPath(
            service=service.name,
            version=settings.version,
            nats_url=settings.nats_url,
            settings=settings,
            database=self._database,
            handlers=handlers,
            broadcasts=broadcasts,
            publishes=[message.DESCRIPTOR.full_name for message in service.publishes],
            jobs=[bind_job(job, settings) for job in service.jobs],
            on_fatal=self._die,
        )

    async def _broker_connected(self, seconds: float) -> None:
        """Wait for the broker no longer than an ordinary start takes."""
        ends_at = time.monotonic() + seconds
        while self._events and not self._events.broker_connected() and time.monotonic() < ends_at:
            await asyncio.sleep(0.02)

    def _states(self) -> dict[str, str]:
        states = {"schema": f"lacks {self._schema_lacks}"} if self._schema_lacks else {}
        if self._events is not None:
            states |= self._events.states()
        return states

    async def stop(self) -> None:
        """From what takes work outward to telemetry, within the grace time.

        What is cut short loses nothing: an event whose handler did not finish is taken again, one
        that stays in the outbox is sent by the next process.
        """
        settings = self._settings
        ends_at = time.monotonic() + settings.shutdown_grace_seconds

        def share(part: float) -> float:
            return max(0.0, ends_at - time.monotonic()) * part

        watchdog = threading.Timer(settings.shutdown_grace_seconds + 1, os._exit, (1,))
        watchdog.daemon = True
        watchdog.start()

        # Not ready, still live: whoever routes work here looks elsewhere from now on.
        self._readiness.draining = True
        await self._readiness.tell()
        if self._rpc is not None:
            await self._rpc.drain()
        await asyncio.sleep(min(settings.shutdown_delay_seconds, share(0.5)))

        # The servers take no new work, event streams end, running calls finish. Where HTTP is
        # nothing but probes it goes on, to say that the process lives.
        if self._http is not None and self._service.http:
            self._closing.set()
            servers = [self._http.stop(share(0.6))]
        else:
            servers = []
        if self._rpc is not None:
            servers.append(self._rpc.stop(share(0.6)))
        await self._step("servers", asyncio.gather(*servers))

        # Lanes are let go, with what is in hand finished; then the outbox is sent.
        if self._events is not None:
            await self._step("lanes", self._events.let_go(share(0.5)))
            await self._step("outbox", self._events.flush(share(0.5)))
            await self._step("broker", asyncio.wait_for(self._events.close(), share(0.5)))
        if self._clients is not None:
            await self._step("clients", self._clients.close())
        if self._watch is not None:
            self._watch.cancel()
        if self._database is not None:
            closing = asyncio.to_thread(self._database.close)
            await self._step("database", asyncio.wait_for(closing, share(0.5)))
        last = [self._http] if not self._service.http else []
        await self._step(
            "probes and metrics",
            asyncio.gather(
                *(
                    server.stop(share(0.5))
                    for server in (*last, self._metrics)
                    if server is not None
                )
            ),
        )

        # Last, so that what was said and measured while draining is told too.
        _log.info("stopped")
        await tracing.shutdown(min(_TELEMETRY_SECONDS, share(1)))

    async def _step(self, name: str, work: Awaitable[object]) -> None:
        try:
            await work
        except TimeoutError:
            _log.warning("cut short by the end of the grace time", step=name)
        except Exception:
            _log.exception("the stop goes on without it", step=name)
