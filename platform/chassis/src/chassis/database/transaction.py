"""The transaction that handlers get: a session, and events to publish in the same commit."""

from collections.abc import Callable
from types import CoroutineType, GeneratorType
from typing import TYPE_CHECKING, Protocol

import structlog
from sqlalchemy import insert
from sqlalchemy.orm import Session

from chassis.database import tables
from chassis.database.work_session import TransactionMisused, WorkSession

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from chassis.events.wire.context import EventContext

__all__ = ["CreatesEvents", "ReadTransaction", "Transaction"]

_log = structlog.get_logger(__name__)


class CreatesEvents(Protocol):
    """The part of a service that creates events of messages."""

    def create(
        self, message: "Message", cause: "EventContext | None"
    ) -> "tuple[EventContext, dict[str, object]]":
        """Return the attributes of an event, and its row in the outbox."""


class ReadTransaction:
    """A transaction that only reads; all of its statements see the same state of the database."""

    def __init__(self, session: WorkSession) -> None:
        self._session = session
        self._over = False

    @property
    def session(self) -> Session:
        """The session, until the work returns.

        Only the chassis ends its transaction; the work may use savepoints (`begin_nested`).

        Raises:
            TransactionMisused: the transaction is over.
        """
        self._raise_if_over("use its session")
        return self._session

    def _raise_if_over(self, what: str) -> None:
        if self._over:
            raise TransactionMisused(
                f"the transaction is over, too late to {what}: do it before the work returns, or "
                "in a transaction of its own"
            )

    def _check(self, result: object = None, *, commits: bool = True) -> None:
        """Raise TransactionMisused if the work ended the transaction, or if `result` shows that the
        work did not run."""
        if isinstance(result, (CoroutineType, GeneratorType)):
            result.close()
            raise TransactionMisused(
                f"{result.__qualname__} was called and did not run, since it is an async def or "
                "has a yield: work in a transaction is a plain def"
            )
        self._session.check(commits=commits)

    def _end_read(self, result: object) -> None:
        """End the transaction; raise TransactionMisused if its session has changes."""
        self._check(result, commits=False)
        session = self._session
        if session.new or session.deleted or any(map(session.is_modified, session.dirty)):
            raise TransactionMisused(
                "a ReadTransaction writes nothing, and its session has changes: "
                "take a Transaction instead"
            )
        self._over = True


class Transaction(ReadTransaction):
    """A transaction whose changes and events take effect together in one commit, or not at all."""

    def __init__(self, session: WorkSession, events: CreatesEvents) -> None:
        super().__init__(session)
        self.cause: EventContext | None = None
        self._events = events
        self._rows: list[dict[str, object]] = []
        self._after_commit: list[Callable[[], None]] = []

    def publish(self, message: "Message", *, cause: "EventContext | None" = None) -> "EventContext":
        """Publish an event if this transaction commits; return its CloudEvents attributes.

        `cause` is the event that caused it; the default is the event of a handler of single events.

        Raises:
            LookupError: the service does not declare that it publishes this type.
            ValueError: the partition key is empty, or the event is too large (EventTooLarge).
            TransactionMisused: the transaction is over.
        """
        self._raise_if_over("publish")
        context, row = self._events.create(message, cause or self.cause)
        self._rows.append(row)
        return context

    def after_commit(self, call: Callable[[], None]) -> None:
        """Register a call for after the commit, on this thread; it is not made if the commit fails.

        An exception of the call is logged, since the commit cannot be undone.

        Raises:
            TransactionMisused: the transaction is over.
        """
        self._raise_if_over("register a call")
        self._after_commit.append(call)

    def _finish(self, result: object) -> bool:
        """Commit; return whether events were added to the outbox.

        The outbox is written by the last statement, so that the order of its rows follows the order
        in which the work locked rows.
        """
        self._check(result)
        self._session.flush()
        # Events that are added from now on would not be stored.
        self._over = True
        if self._rows:
            self._session.execute(insert(tables.outbox), self._rows)
        self._session.finish()
        return bool(self._rows)

    def _committed(self) -> None:
        """Make the calls that were registered for after the commit."""
        for call in self._after_commit:
            try:
                call()
            except Exception:
                _log.exception("callback after commit failed; the transaction stays committed")
