"""Changes of a transaction that are sent together, because no handler has used their results.

A statement that is sent by itself takes a round trip to the database. The updates and deletions
that the handlers of a batch make are mostly one statement, with different values.
"""

from collections.abc import Iterator
from itertools import groupby
from typing import Any, Self
from weakref import ref

from sqlalchemy import Connection, CursorResult

from chassis.database.prebuilt import Values

__all__ = ["DeferredChanges", "DeferredFailed", "DeferredResult"]


class DeferredFailed(Exception):
    """A change failed after its place in the work; nothing was changed.

    The work must run again without deferring, so that the error comes where the work expects it.
    """


class DeferredChanges:
    """The changes of a connection's transaction that are still to be sent, in order.

    `failed` tells that the database refused one, so that the transaction must not be committed.
    """

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._waiting: list[tuple[str, Values, ref[DeferredResult]]] = []
        self.failed = False

    def add(self, text: str, values: Values) -> "DeferredResult":
        """Defer a change, and return its result, which sends the change when it is looked at."""
        result = DeferredResult(self)
        self._waiting.append((text, values, ref(result)))
        return result

    def send(self) -> None:
        """Send what waits. Call this before each other statement.

        Changes that follow each other and have the same text are sent together. The driver does not
        tell their results apart, so a change whose result is still referenced is sent by itself.

        Raises:
            sqlalchemy.exc.DBAPIError: the database refused a change.
            DeferredFailed: it refused one earlier.
        """
        self.check()
        if not self._waiting:
            return
        waiting, self._waiting = self._waiting, []
        self.failed = True
        for (text, referenced), group in groupby(waiting, key=_text_and_result):
            values = [each for _, each, _ in group]
            result = self._connection.exec_driver_sql(
                text, values[0] if len(values) == 1 else values
            )
            if referenced is not None:
                referenced.set(result)
        self.failed = False

    def check(self) -> None:
        """Check that the transaction can be committed.

        Raises:
            DeferredFailed: the database refused a change, even if the work caught its error.
        """
        if self.failed:
            raise DeferredFailed("the database refused a deferred change")


class DeferredResult:
    """The result of a deferred change, which is used like the `CursorResult` that it stands for.

    Each use sends the change first if it still waits. `isinstance` tells the two classes apart.
    """

    __slots__ = ("__weakref__", "_changes", "_result")

    def __init__(self, changes: DeferredChanges) -> None:
        self._changes = changes
        self._result: CursorResult[Any] | None = None

    def set(self, result: CursorResult[Any]) -> None:
        """Set the result, after the change was sent by itself."""
        self._result = result

    def __getattr__(self, name: str) -> Any:
        return getattr(self._sent(), name)

    # Python does not ask `__getattr__` for the methods of its own syntax.

    def __iter__(self) -> Iterator[Any]:
        return iter(self._sent())

    def __next__(self) -> Any:
        return next(self._sent())

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_error: object) -> None:
        self._sent().close()

    def _sent(self) -> CursorResult[Any]:
        """Return the result, for which the change is sent if it still waits."""
        if self._result is None:
            self._changes.send()
        assert self._result is not None, "a change whose result is referenced is sent by itself"
        return self._result


def _text_and_result(
    change: tuple[str, Values, "ref[DeferredResult]"],
) -> tuple[str, DeferredResult | None]:
    """Return the text of a change, and its result if that is still referenced."""
    text, _, result = change
    return text, result()
