"""The state of a transaction that its database shares with the object that the work gets."""

from collections.abc import Callable
from types import CoroutineType, GeneratorType

import structlog

from chassis.database import outbox_rows
from chassis.database.outbox_rows import OutboxRow
from chassis.database.transaction_guard import TransactionMisused
from chassis.database.work import Work, WorkSession

__all__ = ["TransactionState"]

_log = structlog.get_logger(__name__)


class TransactionState:
    """An open transaction with the events and calls of its commit, which only the database ends."""

    def __init__(self, work: Work) -> None:
        self._work = work
        self.outbox_rows: list[OutboxRow] = []
        self.calls_after_commit: list[Callable[[], None]] = []
        self.over = False

    @property
    def session(self) -> WorkSession:
        """The session of the transaction."""
        return self._work.session

    def raise_if_over(self, what: str) -> None:
        """Raise TransactionMisused if it is too late to do `what`."""
        if self.over:
            raise TransactionMisused(
                f"the transaction is over, too late to {what}: do it before the work returns, or "
                "in a transaction of its own"
            )

    def check(self, result: object, *, commits: bool = True) -> None:
        """Raise TransactionMisused if the work ended the transaction, or if `result` shows that the
        work did not run."""
        if isinstance(result, (CoroutineType, GeneratorType)):
            result.close()
            raise TransactionMisused(
                f"{result.__qualname__} was called and did not run, since it is an async def or "
                "has a yield: work in a transaction is a plain def"
            )
        self._work.check(commits=commits)

    def end_read(self, result: object) -> None:
        """End the transaction; raise TransactionMisused if its session has changes."""
        self.check(result, commits=False)
        if self._work.has_changes:
            raise TransactionMisused(
                "a ReadTransaction writes nothing, and its session has changes: "
                "take a Transaction instead"
            )
        self.over = True

    def commit(self, result: object) -> bool:
        """Commit; return whether events were added to the outbox.

        The outbox is written by the last statement, so that the order of its rows follows the order
        in which the work locked rows.
        """
        self.check(result)
        self._work.flush()
        # Events that are added from now on would not be stored.
        self.over = True
        if self.outbox_rows:
            outbox_rows.insert(self._work.connection, self.outbox_rows)
        self._work.finish()
        return bool(self.outbox_rows)

    def call_after_commit(self) -> None:
        """Make the calls that the work registered for after the commit."""
        for call in self.calls_after_commit:
            try:
                call()
            except Exception:
                _log.exception("callback after commit failed; the transaction stays committed")
