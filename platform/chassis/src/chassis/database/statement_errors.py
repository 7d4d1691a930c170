"""Errors of the database in one piece of work, whether or not the work let them pass."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

from sqlalchemy import Engine, event
from sqlalchemy.engine import ExceptionContext
from sqlalchemy.exc import DBAPIError

from chassis.database.faults import Fault, fault_of, find_cause
from chassis.database.transaction_guard import TransactionMisused

__all__ = ["ErrorRecorder", "StatementErrors"]


@dataclass(slots=True)
class StatementErrors:
    """The errors of the statements in one piece of work, those that it caught among them."""

    errors: list[DBAPIError] = field(default_factory=list)

    def cause_of(self, error: BaseException) -> DBAPIError | None:
        """Return the database's error behind an error; None if the work failed by itself."""
        cause = find_cause(error, DBAPIError)
        if cause is not None:
            return cause
        if find_cause(error, TransactionMisused) is not None:
            # The database may have ended the transaction: SQLite does when its disk is full.
            return self._first(*(set(Fault) - {Fault.STATEMENT, Fault.UNKNOWN}))
        return self._first(Fault.RETRY, Fault.LOST, Fault.DOWN, Fault.READ_ONLY)

    def swallowed(self) -> DBAPIError | None:
        """Return an error that made the commit impossible although the work caught it."""
        return self._first(Fault.LOST, Fault.DOWN, Fault.READ_ONLY)

    def _first(self, *faults: Fault) -> DBAPIError | None:
        """Return the first recorded error with one of these faults."""
        return next((error for error in self.errors if fault_of(error) in faults), None)


class ErrorRecorder:
    """A recorder of all errors of an engine's statements, by thread."""

    def __init__(self, engine: Engine) -> None:
        self._thread = threading.local()
        event.listen(engine, "handle_error", self._record)

    @contextmanager
    def record(self) -> Iterator[StatementErrors]:
        """Record the errors of this thread's statements within the block."""
        recorded = self._thread.recorded = StatementErrors()
        try:
            yield recorded
        finally:
            self._thread.recorded = None

    def _record(self, context: ExceptionContext) -> None:
        """Record an error of the driver for the transaction of this thread."""
        error = context.sqlalchemy_exception
        if not isinstance(error, DBAPIError):
            return
        recorded: StatementErrors | None = getattr(self._thread, "recorded", None)
        if recorded is not None:
            recorded.errors.append(error)
