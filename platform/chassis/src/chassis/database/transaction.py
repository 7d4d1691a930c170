"""The transaction that handlers get: a session, and events to publish in the same commit."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from sqlalchemy.orm import Session

from chassis.database.outbox_rows import OutboxRow
from chassis.database.transaction_state import TransactionState

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from chassis.events.wire.context import EventContext

__all__ = ["CreatesEvents", "ReadTransaction", "Transaction"]


class CreatesEvents(Protocol):
    """The part of a service that creates events of messages."""

    def create(
        self, message: "Message", cause: "EventContext | None"
    ) -> "tuple[EventContext, OutboxRow]":
        """Return the attributes of an event, and its row in the outbox."""


class ReadTransaction:
    """A transaction that only reads; all of its statements see the same state of the database."""

    def __init__(self, state: TransactionState) -> None:
        self._state = state

    @property
    def session(self) -> Session:
        """The session, until the work returns.

        Only the chassis ends its transaction; the work may use savepoints (`begin_nested`).

        Raises:
            TransactionMisused: the transaction is over.
        """
        self._state.raise_if_over("use its session")
        return self._state.session


class Transaction(ReadTransaction):
    """A transaction whose changes and events take effect together in one commit, or not at all."""

    def __init__(self, state: TransactionState, events: CreatesEvents) -> None:
        super().__init__(state)
        self.cause: EventContext | None = None
        self._events = events

    def publish(self, message: "Message", *, cause: "EventContext | None" = None) -> "EventContext":
        """Publish an event if this transaction commits; return its CloudEvents attributes.

        `cause` is the event that caused it; the default is the event of a handler of single events.

        Raises:
            LookupError: the service does not declare that it publishes this type.
            ValueError: the partition key is empty, or the event is too large (EventTooLarge).
            TransactionMisused: the transaction is over.
        """
        self._state.raise_if_over("publish")
        context, row = self._events.create(message, cause or self.cause)
        self._state.outbox_rows.append(row)
        return context

    def after_commit(self, call: Callable[[], None]) -> None:
        """Register a call for after the commit, on this thread; it is not made if the commit fails.

        An exception of the call is logged, since the commit cannot be undone.

        Raises:
            TransactionMisused: the transaction is over.
        """
        self._state.raise_if_over("register a call")
        self._state.calls_after_commit.append(call)

    def defer_changes(self) -> None:
        """Let updates and deletions wait for each other, as long as their results are not used.

        They go to the database before any other statement. If it refuses one, the transaction
        raises DeferredFailed, and the work must run again without this call.
        """
        self._state.session.defers = True

    def check(self, result: object) -> None:
        """Check, after a part of the work returned `result`, that the transaction can be committed.

        Raises:
            TransactionMisused: the part ended the transaction, or did not run.
        """
        self._state.check(result)
