"""What a handler gets: a session, and events to publish with its changes in one commit."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from sqlalchemy import insert
from sqlalchemy.orm import Session

from chassis.database import tables

if TYPE_CHECKING:
    from google.protobuf.message import Message

    from chassis.events.context import EventContext

__all__ = ["Publishes", "ReadTransaction", "Transaction"]


class Publishes(Protocol):
    """Turns a message into an event: its attributes, and its row in the outbox."""

    def outgoing(
        self, message: "Message", cause: "EventContext | None"
    ) -> "tuple[EventContext, dict[str, object]]": ...


class ReadTransaction:
    """A consistent read; it writes nothing."""

    def __init__(self, session: Session) -> None:
        self.session = session


class Transaction(ReadTransaction):
    """Database changes and events that take effect together, in one commit, or not at all."""

    def __init__(self, session: Session, publisher: Publishes) -> None:
        super().__init__(session)
        self.cause: EventContext | None = None
        self._publisher = publisher
        self._rows: list[dict[str, object]] = []
        self._after_commit: list[Callable[[], None]] = []

    def publish(self, message: "Message", *, cause: "EventContext | None" = None) -> "EventContext":
        """Publish an event when, and only if, this transaction commits.

        Returns its CloudEvents attributes. `cause` is the event it follows from; in a handler of
        single events that event is the default.

        Raises:
            LookupError: the service does not declare that it publishes this type.
            ValueError: the partition key is empty, or the event is too large (EventTooLarge).
        """
        context, row = self._publisher.outgoing(message, cause or self.cause)
        self._rows.append(row)
        return context

    def after_commit(self, call: Callable[[], None]) -> None:
        """Call on this thread once the commit is done; not if it fails."""
        self._after_commit.append(call)

    def _finish(self) -> bool:
        """Flush, then write the outbox as the last statement; whether there was anything in it.

        Last, so that the outbox's own order follows the order in which rows were locked.
        """
        self.session.flush()
        if self._rows:
            self.session.execute(insert(tables.outbox), self._rows)
        return bool(self._rows)

    def _committed(self) -> None:
        for call in self._after_commit:
            call()
