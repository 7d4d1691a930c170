"""Whether the service can do its work now, and what it depends on for it."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Literal

import structlog

from chassis.database import Database, DatabaseAtFault, DatabaseDown
from chassis.settings import without_credentials

__all__ = ["OK", "Readiness"]

OK = "ok"
_CHECK_SECONDS = 2.0
_FRESH_SECONDS = 0.25
_log = structlog.get_logger(__name__)

Status = Literal["starting", "ready", "degraded", "unavailable", "draining"]


class Readiness:
    """What the probes and gRPC's health say.

    Without a database that takes writes a service cannot answer, so it is unavailable. Without the
    broker it is degraded: commands are still taken, their events wait in the outbox. So it is when
    its database refuses some of its work: `database_refuses` says what.

    Each look reads from the database; one in `write_seconds`, and each after a refusal, writes.
    """

    def __init__(self, *, write_seconds: float = 5) -> None:
        self._write_seconds = write_seconds
        self._written_at = float("-inf")
        self.started = False
        self.draining = False
        self.dependencies: dict[str, str] = {}
        self._database: Database | None = None
        self._events: Callable[[], Mapping[str, str]] | None = None
        self._held_up: Callable[[], Mapping[str, object]] | None = None
        self._checked_at = float("-inf")
        self._check: asyncio.Task[None] | None = None
        self._last: Status = "starting"
        self._on_change: list[Callable[[bool], Awaitable[None]]] = []

    def depend_on(
        self, database: Database | None, events: Callable[[], Mapping[str, str]] | None
    ) -> None:
        """What to look at: the database, and what the event path says of itself."""
        self._database = database
        self._events = events

    def tell_of_events(self, held_up: Callable[[], Mapping[str, object]]) -> None:
        """What the report says of events that wait for an operator: it makes nothing unready."""
        self._held_up = held_up

    def on_change(self, call: Callable[[bool], Awaitable[None]]) -> None:
        """Call with whether it is ready, at each look that finds it changed."""
        self._on_change.append(call)

    @property
    def status(self) -> Status:
        """As of the last look."""
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
        """Whether requests will be answered."""
        return self.status in ("ready", "degraded")

    async def look(self) -> Status:
        """Look again, unless somebody has within the last quarter of a second."""
        now = asyncio.get_running_loop().time()
        # While it drains the answer is known, and what it depends on closes one by one.
        if not self.draining and now - self._checked_at >= _FRESH_SECONDS:
            if self._check is None or self._check.done():
                self._check = asyncio.create_task(self._look())
            # Of several who ask at once one looks, and one who goes away takes nobody's answer.
            await asyncio.shield(self._check)
        return self.status

    async def begin(self) -> None:
        """The start is over. What was seen while it went on counts no longer."""
        await self._look()
        self.started = True
        await self.tell()

    async def watch(self, seconds: float) -> None:
        """Look every so many seconds, for ever."""
        while True:
            await self.look()
            await asyncio.sleep(seconds)

    async def _look(self) -> None:
        dependencies = {}
        if self._database is not None:
            dependencies["database"] = await self._look_at(self._database)
            if refused := self._database.refused(DatabaseAtFault):
                dependencies["database_refuses"] = without_credentials(refused)
        if self._events is not None:
            dependencies.update(self._events())
        self.dependencies = dependencies
        self._checked_at = asyncio.get_running_loop().time()
        await self.tell()

    async def tell(self) -> None:
        """Log what has changed, and tell those who want to know."""
        status, before = self.status, self._last
        if status == before:
            return
        self._last = status
        away = {name: state for name, state in self.dependencies.items() if state != OK}
        if status in ("unavailable", "degraded"):
            _log.warning("readiness changed", status=status, **away)
        else:
            _log.info("readiness changed", status=status)
        for call in self._on_change:
            await call(self.ready)

    def report(self) -> dict[str, object]:
        """What /readyz answers."""
        report: dict[str, object] = {"status": self.status, "dependencies": self.dependencies}
        if self._held_up is not None:
            report["events"] = self._held_up()
        return report

    async def _look_at(self, database: Database) -> str:
        now = asyncio.get_running_loop().time()
        write = now - self._written_at >= self._write_seconds
        try:
            await asyncio.wait_for(database.check(write=write), _CHECK_SECONDS)
        except TimeoutError:
            self._written_at = float("-inf")
            return f"no answer within {_CHECK_SECONDS:g} s"
        except DatabaseDown as error:
            self._written_at = float("-inf")
            return without_credentials(str(error)) or "away"
        if write:
            self._written_at = now
        return without_credentials(database.refused(DatabaseDown) or OK)
