"""The process of a service: its event loop, its signals, its exit code."""

import asyncio
import os
import signal
from functools import partial
from typing import TYPE_CHECKING, NoReturn

import structlog

from chassis import exit_codes, garbage
from chassis._lifecycle import Lifecycle
from chassis._migration_process import MigrationProcess
from chassis.credentials import without_credentials
from chassis.database import WrongDatabase, migrate
from chassis.ports import CannotListen
from chassis.settings import ServiceSettings
from chassis.telemetry import logging

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["run"]

_log = structlog.get_logger("chassis")
_LOG_SECONDS = 1.0


def run(service: "Service", settings: ServiceSettings, warnings: list[str]) -> NoReturn:
    """Run the service until a signal or a fatal error stops it, then exit the process.

    The `warnings` are logged first.
    """
    logging.take_over(service.name, settings)
    for warning in warnings:
        _log.warning("environment variable ignored", reason=warning)
    migration = None
    if service.has_database and settings.environment == "development":
        url = settings.database_url.get_secret_value()
        migration = MigrationProcess.start(
            partial(migrate, url, service.migrations, service=service.name)
        )
    try:
        import uvloop

        loop_factory = uvloop.new_event_loop
    except ImportError:
        loop_factory = None
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        code = runner.run(_Process(service, settings, migration).run_until_stopped())
        if migration is not None:
            migration.close()
        logging.drain(_LOG_SECONDS)
        # Exit without closing the loop, because that would wait for threads that hang. All work
        # has had its grace time.
        os._exit(code)


class _Process:
    """The life of a service in this process, and the reason why it ends."""

    def __init__(
        self,
        service: "Service",
        settings: ServiceSettings,
        migration: MigrationProcess | None = None,
    ) -> None:
        self._stop_requested = asyncio.Event()
        self._fatal: Exception | None = None
        self._lifecycle = Lifecycle(service, settings, migration, on_fatal=self._fail)

    async def run_until_stopped(self) -> int:
        """Start the service, stop it after a signal or a fatal error, and return the exit code."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._on_signal, number)
        starting = asyncio.create_task(self._lifecycle.start())
        stop = asyncio.create_task(self._stop_requested.wait())
        try:
            await asyncio.wait({starting, stop}, return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
                garbage.settle()
            else:
                starting.cancel()
                await asyncio.wait({starting})
            await stop
        except (CannotListen, WrongDatabase) as error:
            self._fatal = error
        except Exception as error:
            _log.exception("start failed; stopping the service")
            self._fatal = error
        stop.cancel()
        if isinstance(self._fatal, (CannotListen, WrongDatabase)):
            _log.error("service cannot start; exiting", reason=str(self._fatal))
        elif self._fatal is not None:
            _log.error("stopping after a fatal error", reason=without_credentials(str(self._fatal)))
        await self._lifecycle.stop()
        if isinstance(self._fatal, CannotListen):
            return self._fatal.exit_code
        return exit_codes.OK if self._fatal is None else exit_codes.FAILED

    def _on_signal(self, number: int) -> None:
        """Stop at the first signal; exit at once at a second one."""
        if self._stop_requested.is_set():
            os._exit(128 + number)
        self._stop_requested.set()

    def _fail(self, error: Exception) -> None:
        """Stop with a failure: the configuration can never work, or a background task has died."""
        self._fatal = self._fatal or error
        self._stop_requested.set()
