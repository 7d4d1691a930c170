"""Event handlers bound to their arguments, when the service starts."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar

from google.protobuf.message import Message
from pydantic_settings import BaseSettings

from chassis.calls import StubOf, no_stub
from chassis.database import Transaction
from chassis.database.tables import LONGEST_NAME
from chassis.events.handlers.router import EventRouter, Foreign, Kind, Start, Subscription
from chassis.events.wire.context import EventContext
from chassis.parameters import DeclarationError, full_name, resolve_parameters

__all__ = ["Handler", "Transact", "bind_all"]

P = ParamSpec("P")
T = TypeVar("T")


class Transact(Protocol):
    """Function that finishes an `async def` handler: it commits the changes that `work(tx, ...)`
    makes together with the end of the event's task."""

    async def __call__(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T: ...


_STREAM = re.compile(r"[^\s.*>/\\]{1,80}")
_SUBJECT = re.compile(r"[^\s.]+(\.[^\s.]+)*")
_LONGEST_SUBJECT = 160
# Names of the arguments that a handler is called with.
_MESSAGE, _EVENT, _TRANSACTION, _TRANSACT = "message", "event", "tx", "transact"


@dataclass(frozen=True, slots=True)
class Handler:
    """A handler of a type of event, with the sources of its arguments.

    `per_call` names for each parameter the argument that fills it in each call, `fixed` has the
    arguments that are the same in all calls.
    """

    message: type[Message]
    type: str
    kind: Kind
    start: Start
    name: str
    function: Callable[..., Any]
    per_call: tuple[tuple[str, str], ...]
    fixed: Mapping[str, object]
    foreign: Foreign | None = None

    def __call__(
        self, message: object, event: object, *, tx: object = None, transact: object = None
    ) -> Any:
        """Call the handler; for an on_batch handler `message` and `event` are lists."""
        given = {_MESSAGE: message, _EVENT: event, _TRANSACTION: tx, _TRANSACT: transact}
        return self.function(
            **{name: given[source] for name, source in self.per_call}, **self.fixed
        )


def bind_all(
    routers: Sequence[EventRouter], settings: BaseSettings, stub_of: StubOf = no_stub
) -> tuple[Mapping[str, Handler], Mapping[str, list[Handler]]]:
    """Return the handlers of all routers by type, and the broadcast handlers by type.

    Raises:
        DeclarationError: a handler cannot be called as it is declared, or two handle one type.
    """
    handlers: dict[str, Handler] = {}
    broadcasts: dict[str, list[Handler]] = {}
    # A dict keeps each problem once, because handlers of several types repeat theirs.
    problems: dict[str, None] = {}
    for subscription in (s for router in routers for s in router.subscriptions):
        try:
            handler = _bind(subscription, settings, stub_of)
        except DeclarationError as error:
            problems[str(error)] = None
            continue
        if handler.kind == "broadcast":
            broadcasts.setdefault(handler.type, []).append(handler)
        elif (first := handlers.setdefault(handler.type, handler)) is not handler:
            problem = f"{handler.name} and {first.name} both handle {handler.type}"
            problems[f"{problem}: a service has one handler per event type"] = None
    if problems:
        raise DeclarationError("\n".join(problems))
    return handlers, broadcasts


def _bind(subscription: Subscription, settings: BaseSettings, stub_of: StubOf) -> Handler:
    """Resolve a handler's parameters; raise DeclarationError if some cannot be."""
    function, type, foreign = subscription.function, subscription.type, subscription.foreign
    name = full_name(function)
    parameters = resolve_parameters(function, _offers(subscription), settings, stub_of)
    problems = [*parameters.problems]
    if foreign is not None:
        problems += (f"{name}: {problem}" for problem in _foreign_problems(foreign, type))
    if not problems and _MESSAGE not in parameters.per_call.values():
        problems.append(f"{name}: no parameter takes the {type}")
    if problems:
        raise DeclarationError("\n".join(problems))
    return Handler(
        message=subscription.message,
        type=type,
        kind=subscription.kind,
        start=subscription.start,
        name=name,
        function=function,
        per_call=tuple(parameters.per_call.items()),
        fixed=parameters.fixed,
        foreign=foreign,
    )


def _offers(subscription: Subscription) -> Mapping[Any, str]:
    """Return the arguments of a call by the annotations that ask for them."""
    message: Any = subscription.message
    if subscription.kind == "one":
        return {message: _MESSAGE, Transaction: _TRANSACTION, EventContext: _EVENT}
    if subscription.kind == "batch":
        return {
            Sequence[message]: _MESSAGE,
            Transaction: _TRANSACTION,
            Sequence[EventContext]: _EVENT,
        }
    if subscription.kind == "async":
        return {message: _MESSAGE, EventContext: _EVENT, Transact: _TRANSACT}
    return {subscription.union or message: _MESSAGE, EventContext: _EVENT}


def _foreign_problems(foreign: Foreign, type: str) -> Iterator[str]:
    """Yield what is wrong with a declared foreign stream, subject or type."""
    if not _STREAM.fullmatch(foreign.stream):
        yield f"{foreign.stream!r} is not a valid name of a stream"
    if not _SUBJECT.fullmatch(foreign.subject) or len(foreign.subject) > _LONGEST_SUBJECT:
        yield f"{foreign.subject!r} is not a valid subject of a stream's messages"
    if len(type) > LONGEST_NAME:
        yield f"a type has at most {LONGEST_NAME} characters"
