"""Routers, by which a service declares its event handlers."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import reduce
from inspect import iscoroutinefunction
from operator import or_
from typing import Any, Literal, TypeVar

from google.protobuf.message import Message

from chassis.events.wire.contracts import event_type

__all__ = ["EventRouter", "Foreign", "Subscription"]

F = TypeVar("F", bound=Callable[..., Any])
Kind = Literal["one", "batch", "async", "broadcast"]
Start = Literal["oldest", "newest"]


@dataclass(frozen=True, slots=True, order=True)
class Foreign:
    """The stream and the subject of events from a producer outside the platform."""

    stream: str
    subject: str


@dataclass(frozen=True, slots=True)
class Subscription:
    """A handler, and the type of event it handles."""

    message: type[Message]
    type: str
    function: Callable[..., Any]
    kind: Kind
    start: Start
    foreign: Foreign | None = None
    union: Any = None
    """The union of `message` and others, if one handler handles all of them."""


class EventRouter:
    """A collection of handlers, of which a Service has one or more."""

    def __init__(self) -> None:
        self.subscriptions: list[Subscription] = []

    def on(self, message: type[Message], *, start: Start = "oldest") -> Callable[[F], F]:
        """Handle events of this type one by one.

        A `def` handler changes the database and publishes through its Transaction; the chassis
        handles many events in one commit. An `async def` handler may wait for other systems, and
        commits once by `await transact(...)`.

        `start` says where a service begins that has no position for this type: at the oldest event
        of the stream, or after the newest.
        """

        def register(function: F) -> F:
            kind: Kind = "async" if iscoroutinefunction(function) else "one"
            self._add(message, function, kind, start)
            return function

        return register

    def on_foreign(
        self,
        message: type[Message],
        *,
        stream: str,
        subject: str,
        type: str = "",
        start: Start = "oldest",
    ) -> Callable[[F], F]:
        """Handle CloudEvents that a producer outside the platform publishes to its own stream.

        These events have no numbers. Each is handled once, in the order of the stream, and
        recognized by its `source` and `id`, which are kept for `APP_FOREIGN_ID_SECONDS`. `subject`
        is that of the stream's messages, wildcards allowed; `type` is the CloudEvents type if it is
        not the message's full name. Events of other types are skipped. A message that is not a
        CloudEvent, or cannot be decoded, becomes a dead letter. Data may be JSON or protobuf.

        The stream must keep messages by limits, since reading does not remove them.
        """

        def register(function: F) -> F:
            kind: Kind = "async" if iscoroutinefunction(function) else "one"
            name = type or event_type(message)
            foreign = Foreign(stream, subject)
            self.subscriptions.append(Subscription(message, name, function, kind, start, foreign))
            return function

        return register

    def on_batch(self, message: type[Message], *, start: Start = "oldest") -> Callable[[F], F]:
        """Handle many events of this type at once, for set-based SQL.

        If the handler raises, its events are handled again as lists of one.
        """

        def register(function: F) -> F:
            if iscoroutinefunction(function):
                raise TypeError(f"{function.__name__}: an on_batch handler is a plain def")
            self._add(message, function, "batch", start)
            return function

        return register

    def broadcast(self, message: type[Message], *more: type[Message]) -> Callable[[F], F]:
        """Call the handler for events of these types in every replica: no position, no retry.

        Use it to wake a waiting stream or drop a cache entry. Events may be missed, be doubled or
        arrive before the commit that they tell of is visible. The handler of several types has a
        parameter annotated with their union.
        """

        def register(function: F) -> F:
            if not iscoroutinefunction(function):
                raise TypeError(f"{function.__name__}: a broadcast handler is an async def")
            union = reduce(or_, more, message) if more else None
            for each in (message, *more):
                self._add(each, function, "broadcast", "newest", union)
            return function

        return register

    def _add(
        self,
        message: type[Message],
        function: Callable[..., Any],
        kind: Kind,
        start: Start,
        union: Any = None,
    ) -> None:
        self.subscriptions.append(
            Subscription(message, event_type(message), function, kind, start, union=union)
        )
