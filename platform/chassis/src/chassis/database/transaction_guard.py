"""The guard of a transaction against work that would end it.

The transaction contains more than the work's changes: positions, other events of the batch, events
to publish. A COMMIT sent as text, or by another object than the session, is found before each
statement and before the commit, because the driver knows whether the transaction is still open.
"""

import re
from typing import Any, NoReturn

from sqlalchemy import Connection

__all__ = ["TransactionGuard", "TransactionMisused", "guard_of", "is_idle"]

_ADVICE = (
    "the chassis commits when the work returns, and rolls back when it raises; put statements that "
    "may fail alone into `with tx.session.begin_nested():`"
)
_ENDING_STATEMENT = re.compile(
    r"(?:\s|--[^\n]*\n|/\*.*?\*/|;)*"
    r"(BEGIN|START\s+TRANSACTION|COMMIT|END|ABORT|PREPARE\s+TRANSACTION"
    r"|ROLLBACK(?!\s+(?:WORK\s+|TRANSACTION\s+)?TO\b))\b",
    re.IGNORECASE | re.DOTALL,
)
# Values of libpq's PQtransactionStatus.
_IDLE, _FAILED = 0, 3


class TransactionMisused(Exception):
    """Work used its transaction in a way that could lose or double changes; nothing was changed.

    The transaction fails as with any other error of the work, even if the work catches this one.
    """


class TransactionGuard:
    """The guard of one transaction, from `begin` until `end`."""

    def __init__(self) -> None:
        self._driver: Any = None
        self._active = False
        self._misuse: TransactionMisused | None = None

    def begin(self, connection: Connection) -> None:
        """Guard the transaction that a connection has begun."""
        self._driver = connection.connection.dbapi_connection
        self._active = True
        _guards[id(self._driver)] = self

    def release(self) -> None:
        """Let the owner of the transaction commit it."""
        self._active = False

    def end(self) -> None:
        """Forget the connection, whose transaction is over."""
        self._active = False
        _guards.pop(id(self._driver), None)

    def check(self, *, commits: bool) -> None:
        """Check that the transaction is open and, if `commits` is true, that it can be committed.

        Raises:
            TransactionMisused: the work has ended the transaction, or has tried to.
        """
        if self._misuse is None:
            if is_idle(self._driver):
                self.note_end()
            elif commits and _has_failed(self._driver):
                self._note("a statement failed, and its error was caught outside of a savepoint")
        if self._misuse is not None:
            raise self._misuse

    def note_end(self) -> TransactionMisused:
        """Note that the work ended the transaction; `check` raises the error that is returned."""
        return self._note("the work ended the transaction")

    def refuse(self, what: str) -> NoReturn:
        """Raise TransactionMisused; the transaction fails even if the work catches that error."""
        raise self._note(f"{what} would end the transaction that the work was given")

    def before_commit(self) -> None:
        """Refuse a commit by the work itself."""
        if self._active:
            self.refuse("a commit of its connection")

    def before_rollback(self) -> None:
        """Note a rollback by the work itself."""
        if self._active:
            self._note("a failed flush or the work rolled the transaction back")

    def before_statement(self, statement: str) -> None:
        """Refuse a statement by which the work would end its transaction."""
        if not self._active:
            return
        if is_idle(self._driver):
            raise self.note_end()
        if ends := _ENDING_STATEMENT.match(statement):
            self.refuse(ends[1].upper())

    def _note(self, what: str) -> TransactionMisused:
        """Return an error for a misuse; the first one is raised when the work ends."""
        misuse = TransactionMisused(f"{what}: {_ADVICE}")
        self._misuse = self._misuse or misuse
        return misuse


# Guards by the id of their driver's connection, which they keep alive. An execution option would
# cost more, because SQLAlchemy merges options for each statement.
_guards: dict[int, TransactionGuard] = {}


def guard_of(driver: object) -> TransactionGuard | None:
    """Return the guard of the transaction of a driver's connection, None if it has none."""
    return _guards.get(id(driver))


def is_idle(driver: Any) -> bool:
    """Return whether a driver's connection has no open transaction; a lost connection counts as
    open."""
    if hasattr(driver, "pgconn"):
        return bool(driver.pgconn.transaction_status == _IDLE)
    return not driver.in_transaction


def _has_failed(driver: Any) -> bool:
    """Return whether PostgreSQL would answer a COMMIT by rolling back without an error."""
    return hasattr(driver, "pgconn") and bool(driver.pgconn.transaction_status == _FAILED)
