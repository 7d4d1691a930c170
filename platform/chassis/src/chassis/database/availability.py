"""Whether a database can do work, and the reason if it cannot."""

import time

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from chassis.database import health
from chassis.database.engine import ConnectionRenewal, is_sqlite
from chassis.database.faults import (
    ConnectionLost,
    DatabaseAtFault,
    DatabaseDown,
    Fault,
    first_line,
)

__all__ = ["Availability"]

# Readiness reports a refusal for this time, even if a small write succeeds.
_REMEMBERED_SECONDS = 5.0


class Availability:
    """The availability of one database, checked on its connections for reading.

    Errors of its transactions are explained by what a check finds.
    """

    def __init__(self, engine: Engine, read_engine: Engine) -> None:
        self._read_engine = read_engine
        self._sqlite = is_sqlite(engine.url)
        self._renewals = [ConnectionRenewal(engine), ConnectionRenewal(read_engine)]
        self._refusals: dict[type[Exception], tuple[str, float]] = {}

    def check(self, write: bool) -> None:
        """Check that the database can be reached and takes writes; `write` tries one.

        Raises:
            DatabaseDown: it cannot be reached, or takes no writes.
        """
        try:
            health.reach(self._read_engine)
        except Exception:
            # A pooled connection may be stale, or lead to a server that was the primary. The answer
            # of a fresh connection counts.
            self.renew_connections()
            health.reach(self._read_engine)
        if write:
            health.write(self._read_engine)

    def renew_connections(self) -> None:
        """Replace each connection that is open now before it is used again."""
        for renewal in self._renewals:
            renewal.renew()

    def explain(self, error: DBAPIError, fault: Fault) -> Exception | None:
        """Return the error for work that failed because of the database, None if the work failed
        by itself."""
        if fault is Fault.STATEMENT:
            return None
        if fault is Fault.LOST:
            return ConnectionLost(first_line(error))
        if fault is Fault.RETRY:
            return DatabaseDown("another process holds its lock") if self._sqlite else None
        if fault is Fault.DOWN:
            return self._remember(DatabaseDown(first_line(error)))
        try:
            self.check(write=True)
        except DatabaseDown as down:
            return self._remember(down)
        if fault is Fault.UNKNOWN:
            return None
        # A server that refused writes and takes them now has been replaced in the meantime.
        return self._remember(DatabaseAtFault(first_line(error)))

    def refused(self, kind: type[DatabaseDown] | type[DatabaseAtFault]) -> str | None:
        """Return why work was refused within the last 5 s, None if it was not."""
        reason, refused_at = self._refusals.get(kind, (None, 0.0))
        return reason if time.monotonic() - refused_at < _REMEMBERED_SECONDS else None

    def _remember(self, refusal: DatabaseDown | DatabaseAtFault) -> Exception:
        """Remember an error, so that later calls fail at once; return it."""
        self._refusals[type(refusal)] = (str(refusal), time.monotonic())
        return refusal
