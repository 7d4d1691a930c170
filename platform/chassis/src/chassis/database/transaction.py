"""What a handler gets: a session, and events to publish with its changes in one commit."""

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
    """Creates an event of a message: its attributes, and its row in the outbox."""

    def create(
        self, message: "Message", cause: "EventContext | None"
    ) -> "tuple[EventContext, dict[str, object]]": ...


class ReadTransaction:
    """A consistent read: all of its statements see one state of the database. It writes nothing."""

    def __init__(self, session: WorkSession) -> None:
        self._session = session
        self._over = False

    @property
    def session(self) -> Session:
        """The session, until the work returns.

        Its transaction is ended by the chassis alone; a savepoint (`begin_nested`) is the work's.

        Raises:
            TransactionMisused: the transaction is over.
        """
        self._refuse_if_over("use its session")
        return self._session

    def _refuse_if_over(self, what: str) -> None:
        if self._over:
            raise TransactionMisused(
                f"the transaction is over, too late to {what}: do it before the work returns, or "
                "in a transaction of its own"
            )

    def _check(self, result: object = None, *, commits: bool = True) -> None:
        """Raises TransactionMisused if the work ended the transaction, or if `result` shows that
        it has not run."""
        if isinstance(result, (CoroutineType, GeneratorType)):
            result.close()
            raise TransactionMisused(
                f"{result.__qualname__} was called and did not run, since it is an async def or "
                "has a yield: work in a transaction is a plain def"
            )
        self._session.check(commits=commits)

    def _end_read(self, result: object) -> None:
        self._check(result, commits=False)
        session = self._session
        if session.new or session.deleted or any(map(session.is_modified, session.dirty)):
            raise TransactionMisused(
                "a ReadTransaction writes nothing, and its session has changes: "
                "take a Transaction instead"
            )
        self._over = True


class Transaction(ReadTransaction):
    """Database changes and events that take effect together, in one commit, or not at all."""

    def __init__(self, session: WorkSession, events: CreatesEvents) -> None:
        super().__init__(session)
        self.cause: EventContext | None = None
        self._events = events
        self._rows: list[dict[str, object]] = []
        self._after_commit: list[Callable[[], None]] = []

    def publish(self, message: "Message", *, cause: "EventContext | None" = None) -> "EventContext":
        """Publish an event when, and only if, this transaction commits.

        Returns its CloudEvents attributes. `cause` is the event it follows from; in a handler of
        single events that event is the default.

        Raises:
            LookupError: the service does not declare that it publishes this type.
            ValueError: the partition key is empty, or the event is too large (EventTooLarge).
            TransactionMisused: the transaction is over.
        """
        self._refuse_if_over("publish")
        context, row = self._events.create(message, cause or self.cause)
        self._rows.append(row)
        return context

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call on this thread once the commit is done; not if it fails.

        What the call raises is logged, since nothing can be undone any more.

        Raises:
            TransactionMisused: the transaction is over.
        """
        self._refuse_if_over("ask for a call")
        self._after_commit.append(call)

    def _finish(self, result: object) -> bool:
        """Flush, then write the outbox as the last statement; whether there was anything in it.

        Last, so that the outbox's own order follows the order in which rows were locked.
        """
        self._check(result)
        self._session.flush()
        self._over = True  # from here on an event would come too late
        if self._rows:
            self._session.execute(insert(tables.outbox), self._rows)
        self._session.finish()
        return bool(self._rows)

    def _committed(self) -> None:
        for call in self._after_commit:
            try:
                call()
            except Exception:
                _log.exception("callback after commit failed; the transaction stays committed")
