"""The parts of a running service: the order in which they start, and the order in which they stop.

Both orders can be read from top to bottom, in `Lifecycle.start` and `Lifecycle.stop`.
"""

import asyncio
import os
import threading
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

import structlog

from chassis._database_start import open_database
from chassis._migration_process import MigrationProcess
from chassis.database import Database
from chassis.database.engine import place_of
from chassis.events.handlers.binding import bind_all
from chassis.events.jobs import bind_job
from chassis.events.path import EventPath
from chassis.http.app import create_app
from chassis.http.probes import metrics_app
from chassis.http.server import HttpServer
from chassis.ports import METRICS
from chassis.readiness import Readiness
from chassis.rpc.client import Clients
from chassis.rpc.ledger import ledger_service
from chassis.rpc.methods import bind
from chassis.rpc.server import RpcServer
from chassis.settings import ServiceSettings
from chassis.telemetry import tracing

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["Lifecycle"]

_log = structlog.get_logger("chassis")
_BROKER_SECONDS = 1.0
_TELEMETRY_SECONDS = 2.0


class Lifecycle:
    """Start and stop of a service's parts.

    `on_fatal` is called if the service can never work as it is configured, or if a background task
    has died. In development the database is migrated by `migration`; without it by this process.
    """

    def __init__(
        self,
        service: "Service",
        settings: ServiceSettings,
        migration: MigrationProcess | None = None,
        *,
        on_fatal: Callable[[Exception], None],
    ) -> None:
        self._service = service
        self._settings = settings
        self._migration = migration
        self._on_fatal = on_fatal
        self._readiness = Readiness(write_seconds=settings.health_interval_seconds)
        self._database: Database | None = None
        self._events: EventPath | None = None
        self._clients: Clients | None = None
        self._http: HttpServer | None = None
        self._metrics: HttpServer | None = None
        self._rpc: RpcServer | None = None
        self._readiness_watch: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Start telemetry first and the parts that accept work last.

        The service is live at once, and ready when its database is available and its servers
        listen. The start waits for an unavailable database; an unavailable broker only degrades
        the service.

        Raises:
            CannotListen: an address cannot be listened on.
            WrongDatabase: the database belongs to another service.
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
            self._database = await open_database(
                service, settings, self._readiness, self._migration
            )
            app.state.database = self._database
        events = self._make_event_path(self._clients)

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
            self._readiness.depend_on(self._database, events.states)
            if self._database is not None:
                self._readiness.report_events(events.held_up.report)
            await _wait_for_broker(events, _BROKER_SECONDS)
        await self._readiness.begin()
        self._readiness_watch = asyncio.create_task(
            self._readiness.watch(settings.health_interval_seconds)
        )
        self._readiness_watch.add_done_callback(self._readiness_watch_ended)
        _log.info("service started", **self._addresses(http))

    def _make_event_path(self, clients: Clients) -> EventPath | None:
        """Return the event path, None if the service has neither handlers nor a database."""
        service, settings = self._service, self._settings
        handlers, broadcasts = bind_all(service.events, settings, clients.stub)
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
            on_fatal=self._on_fatal,
        )

    def _addresses(self, http: HttpServer) -> dict[str, str]:
        """Return where the service listens and where its data are, as key-values of a log line."""
        settings = self._settings
        addresses = {"http": f"{settings.http_host}:{http.port}"}
        if self._metrics is not None:
            addresses["metrics"] = f"{settings.http_host}:{self._metrics.port}"
        if self._rpc is not None:
            addresses["grpc"] = f"{settings.grpc_host}:{self._rpc.port}"
        if self._database is not None:
            addresses["database"] = place_of(settings.database_url.get_secret_value())
        return addresses

    def _readiness_watch_ended(self, watch: asyncio.Task[None]) -> None:
        """Treat its failure as fatal, because probes would keep reporting the last state."""
        error = None if watch.cancelled() else watch.exception()
        if error is not None:
            self._on_fatal(RuntimeError(f"readiness is no longer checked: {error!r}"))

    async def stop(self) -> None:
        """Stop the parts that accept work first and telemetry last, within the grace time.

        A step that is cut short loses nothing: an event whose handler did not finish is handled
        again, and an event that stays in the outbox is sent by the next process.
        """
        settings = self._settings
        ends_at = time.monotonic() + settings.shutdown_grace_seconds

        def share(part: float) -> float:
            return max(0.0, ends_at - time.monotonic()) * part

        watchdog = threading.Timer(settings.shutdown_grace_seconds + 1, os._exit, (1,))
        watchdog.daemon = True
        watchdog.start()

        # Not ready but still live, so that load balancers stop routing requests here.
        self._readiness.draining = True
        await self._readiness.announce()
        if self._rpc is not None:
            await self._rpc.drain()
        await asyncio.sleep(min(settings.shutdown_delay_seconds, share(0.5)))

        # The servers accept no new work, event streams end, running calls finish. An HTTP server
        # that serves only probes continues, so that /livez answers to the end.
        servers = []
        if self._http is not None and self._service.http:
            self._closing.set()
            servers.append(self._http.stop(share(0.6)))
        if self._rpc is not None:
            servers.append(self._rpc.stop(share(0.6)))
        await _stop_step("servers", asyncio.gather(*servers))

        # Handlers finish the events that they have begun and lanes are released; then the outbox
        # is sent, because those handlers may have published.
        if self._events is not None:
            await _stop_step("lanes", self._events.stop_handling(share(0.5)))
            await _stop_step("outbox", self._events.flush(share(0.5)))
            await _stop_step("broker", asyncio.wait_for(self._events.close(), share(0.5)))
        if self._clients is not None:
            await _stop_step("clients", self._clients.close())
        if self._readiness_watch is not None:
            self._readiness_watch.cancel()
        if self._database is not None:
            closing = asyncio.to_thread(self._database.close)
            await _stop_step("database", asyncio.wait_for(closing, share(0.5)))
        probes = [] if self._service.http else [self._http]
        last = [server for server in (*probes, self._metrics) if server is not None]
        await _stop_step(
            "probes and metrics", asyncio.gather(*(server.stop(share(0.5)) for server in last))
        )

        # Telemetry is last, so that what was logged and measured while draining is sent too.
        _log.info("service stopped")
        await tracing.shutdown(min(_TELEMETRY_SECONDS, share(1)))


async def _wait_for_broker(events: EventPath, seconds: float) -> None:
    """Wait until the broker is connected, for at most `seconds`: an ordinary start takes less."""
    ends_at = time.monotonic() + seconds
    while not events.broker_connected() and time.monotonic() < ends_at:
        await asyncio.sleep(0.02)


async def _stop_step(name: str, work: Awaitable[object]) -> None:
    """Await one step of the stop; log its failure, because the other steps must still run."""
    _log.debug("shutdown step began", step=name)
    try:
        await work
    except TimeoutError:
        _log.warning("shutdown step timed out; continuing", step=name)
    except Exception:
        _log.exception("shutdown step failed; continuing", step=name)
