"""The readiness of a service: whether it can work now, and the state of its dependencies."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

import structlog

from chassis.credentials import without_credentials
from chassis.database import Database, DatabaseAtFault, DatabaseDown

__all__ = ["OK", "Readiness"]

OK = "ok"
_CHECK_SECONDS = 2.0
_FRESH_SECONDS = 0.25
_log = structlog.get_logger(__name__)

Status = Literal["starting", "ready", "degraded", "unavailable", "draining"]


class Readiness:
    """The state that the probes and gRPC's health service report.

    A service is unavailable without a database that accepts writes. It is degraded without the
    broker: it still accepts commands, and their events wait in the outbox. It is degraded too while
    its database refuses some of its work; `database_refuses` in the report says which.

    Each check reads from the database. A check also writes once in `write_seconds`, and after a
    failure.
    """

    def __init__(self, *, write_seconds: float = 5) -> None:
        self._write_seconds = write_seconds
        self._written_at = float("-inf")
        self.started = False
        self.draining = False
        self.dependencies: dict[str, str] = {}
        self._database: Database | None = None
        self._event_states: Callable[[], Mapping[str, str]] | None = None
        self._held_up: Callable[[], Mapping[str, object]] | None = None
        self._checked_at = float("-inf")
        self._running_check: asyncio.Task[None] | None = None
        self._announced: Status = "starting"
        self._on_change: list[Callable[[bool], Awaitable[None]]] = []

    def depend_on(
        self, database: Database | None, events: Callable[[], Mapping[str, str]] | None
    ) -> None:
        """Set the dependencies to check: the database, and the states that `events` returns."""
        self._database = database
        self._event_states = events

    def report_events(self, held_up: Callable[[], Mapping[str, object]]) -> None:
        """Report also the events that wait for an operator; they do not change the status."""
        self._held_up = held_up

    def on_change(self, call: Callable[[bool], Awaitable[None]]) -> None:
        """Call with whether the service is ready whenever the status has changed."""
        self._on_change.append(call)

    @property
    def status(self) -> Status:
        """The status at the last check."""
        if self.draining:
            return "draining"
        if not self.started:
            return "starting"
        if self.dependencies.get("database", OK) != OK:
            return "unavailable"
        if any(state != OK for state in self.dependencies.values()):
            return "degraded"
        return "ready"

    @property
    def ready(self) -> bool:
        """Whether the service answers requests."""
        return self.status in ("ready", "degraded")

    async def check(self) -> Status:
        """Check the dependencies, at most every 0.25 s, and return the status."""
        now = asyncio.get_running_loop().time()
        # A draining service is not checked: its status is known, and its dependencies are closing.
        if not self.draining and now - self._checked_at >= _FRESH_SECONDS:
            if self._running_check is None or self._running_check.done():
                self._running_check = asyncio.create_task(self._check_dependencies())
            # Concurrent callers share one check; the shield keeps it running when one is cancelled.
            await asyncio.shield(self._running_check)
        return self.status

    async def begin(self) -> None:
        """End the start with a new check, because earlier ones saw the service half started."""
        await self._check_dependencies()
        self.started = True
        await self.announce()

    async def watch(self, seconds: float) -> None:
        """Check every `seconds` until cancelled."""
        while True:
            await self.check()
            await asyncio.sleep(seconds)

    async def _check_dependencies(self) -> None:
        """Read the state of all dependencies, and announce the new status."""
        dependencies = {}
        if self._database is not None:
            dependencies["database"] = await self._database_state(self._database)
            if refused := self._database.refused(DatabaseAtFault):
                dependencies["database_refuses"] = without_credentials(refused)
        if self._event_states is not None:
            dependencies.update(self._event_states())
        self.dependencies = dependencies
        self._checked_at = asyncio.get_running_loop().time()
        await self.announce()

    async def announce(self) -> None:
        """Log the status and call the callbacks of `on_change` if it has changed."""
        status, before = self.status, self._announced
        if status == before:
            return
        self._announced = status
        failing = {name: state for name, state in self.dependencies.items() if state != OK}
        if status in ("unavailable", "degraded"):
            _log.warning("readiness changed", status=status, **failing)
        else:
            _log.info("readiness changed", status=status)
        for call in self._on_change:
            await call(self.ready)

    def report(self) -> dict[str, object]:
        """Return the body of /readyz."""
        report: dict[str, object] = {"status": self.status, "dependencies": self.dependencies}
        if self._held_up is not None:
            report["events"] = self._held_up()
        return report

    async def _database_state(self, database: Database) -> str:
        """Return OK, or why the database is unavailable."""
        now = asyncio.get_running_loop().time()
        write = now - self._written_at >= self._write_seconds
        try:
            await asyncio.wait_for(database.check(write=write), _CHECK_SECONDS)
        except TimeoutError:
            self._written_at = float("-inf")
            return f"no answer within {_CHECK_SECONDS:g} s"
        except DatabaseDown as error:
            self._written_at = float("-inf")
            return without_credentials(str(error)) or "unavailable"
        if write:
            self._written_at = now
        return without_credentials(database.refused(DatabaseDown) or OK)
