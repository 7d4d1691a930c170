"""Handlers made callable: each parameter is filled by its annotation."""

import collections.abc
import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import (
    Any,
    Concatenate,
    ParamSpec,
    Protocol,
    TypeVar,
    get_args,
    get_origin,
)

from google.protobuf.message import Message
from pydantic_settings import BaseSettings

from chassis.calls import Call, StubOf, hints_of, no_stub
from chassis.database import Transaction
from chassis.database.tables import LONGEST_NAME
from chassis.events.handlers.router import EventRouter, Foreign, Kind, Start, Subscription
from chassis.events.wire.context import EventContext

__all__ = ["FAILURES", "DeclarationError", "Handler", "Reject", "Transact", "bind", "bind_all"]

P = ParamSpec("P")
T = TypeVar("T")


class Reject(Exception):
    """Raised by a handler: this event can never be handled. It becomes a dead letter at once."""


# What a handler may fail with: a library's sys.exit is its event's failure too.
FAILURES = (Exception, SystemExit)


class DeclarationError(TypeError):
    """A service is declared in a way that cannot work; it refuses to start."""


class Transact(Protocol):
    """Finishes an `async def` handler: its changes and the end of its task in one commit."""

    async def __call__(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T: ...


_STREAM = re.compile(r"[^\s.*>/\\]{1,80}")
_SUBJECT = re.compile(r"[^\s.]+(\.[^\s.]+)*")
# What an on_batch handler may call its lists.
_LISTS = {collections.abc.Sequence, collections.abc.Iterable, collections.abc.Collection, list}
_A_STUB = "or a stub as Annotated[..., Depends(client(...))]"
# What a call of a handler may be made of.
_MESSAGE, _EVENT, _TRANSACTION, _TRANSACT = "message", "event", "tx", "transact"


@dataclass(frozen=True, slots=True)
class Handler:
    """A subscription with its parameters resolved."""

    message: type[Message]
    type: str
    kind: Kind
    start: Start
    name: str
    function: Callable[..., Any]
    parameters: tuple[tuple[str, object], ...]
    foreign: Foreign | None = None

    def __call__(
        self, message: object, event: object, *, tx: object = None, transact: object = None
    ) -> Any:
        """Call the handler; for an on_batch handler `message` and `event` are lists."""
        given = {_MESSAGE: message, _EVENT: event, _TRANSACTION: tx, _TRANSACT: transact}
        return self.function(
            **{
                name: given[source] if isinstance(source, str) else source
                for name, source in self.parameters
            }
        )


def bind_all(
    routers: Sequence[EventRouter], settings: BaseSettings, stub_of: StubOf = no_stub
) -> tuple[Mapping[str, Handler], Mapping[str, list[Handler]]]:
    """The handlers of all routers by type, and the broadcast handlers by type.

    Raises:
        DeclarationError: two handlers for one type, or a parameter nobody can fill.
    """
    handlers: dict[str, Handler] = {}
    broadcasts: dict[str, list[Handler]] = {}
    for router in routers:
        for subscription in router.subscriptions:
            handler = bind(subscription, settings, stub_of)
            if handler.kind == "broadcast":
                broadcasts.setdefault(handler.type, []).append(handler)
            elif handler.type in handlers:
                raise DeclarationError(
                    f"{handler.name} and {handlers[handler.type].name} both handle {handler.type}: "
                    "a service has one handler per event type"
                )
            else:
                handlers[handler.type] = handler
    return handlers, broadcasts


def bind(subscription: Subscription, settings: BaseSettings, stub_of: StubOf = no_stub) -> Handler:
    """Resolve what each parameter of a handler is.

    Raises:
        DeclarationError: a parameter has no annotation, or one nobody can fill.
    """
    function, kind = subscription.function, subscription.kind
    name = f"{function.__module__}.{function.__qualname__}"
    hints = hints_of(function)

    def source(parameter: str) -> object:
        hint, where = hints.get(parameter), f"{name}({parameter})"
        if isinstance(hint, Call):
            return _stub(hint, kind, stub_of, where)
        return _source(hint, subscription, settings, where)

    if subscription.foreign:
        _check_foreign(subscription.foreign, subscription.type, name)
    parameters = tuple((p, source(p)) for p in inspect.signature(function).parameters)
    if not any(source is _MESSAGE for _, source in parameters):
        raise DeclarationError(f"{name}: no parameter takes the {subscription.type}")
    return Handler(
        subscription.message,
        subscription.type,
        kind,
        subscription.start,
        name,
        function,
        parameters,
        subscription.foreign,
    )


def _check_foreign(foreign: Foreign, type: str, name: str) -> None:
    if not _STREAM.fullmatch(foreign.stream):
        raise DeclarationError(f"{name}: no stream can be named {foreign.stream!r}")
    if not _SUBJECT.fullmatch(foreign.subject) or len(foreign.subject) > 160:
        raise DeclarationError(f"{name}: {foreign.subject!r} is no subject of a stream's messages")
    if len(type) > LONGEST_NAME:
        raise DeclarationError(f"{name}: a type has at most {LONGEST_NAME} characters")


def _stub(call: Call, kind: Kind, stub_of: StubOf, where: str) -> object:
    if kind in ("one", "batch"):
        raise DeclarationError(
            f"{where}: a def calls no service, since a transaction never waits on the network; "
            "make the handler an async def"
        )
    try:
        return stub_of(call.contract, call.stub)
    except LookupError as error:
        raise DeclarationError(f"{where}: {error}") from None


def _source(hint: Any, subscription: Subscription, settings: BaseSettings, where: str) -> object:
    kind, message = subscription.kind, subscription.message
    if kind == "batch" and get_origin(hint) in _LISTS:
        if get_args(hint) == (message,):
            return _MESSAGE
        if get_args(hint) == (EventContext,):
            return _EVENT
    if kind != "batch" and hint is message:
        return _MESSAGE
    if kind != "batch" and hint is EventContext:
        return _EVENT
    if kind in ("one", "batch") and hint is Transaction:
        return _TRANSACTION
    if kind == "async" and hint is Transact:
        return _TRANSACT
    if inspect.isclass(hint) and issubclass(hint, BaseSettings) and isinstance(settings, hint):
        return settings
    wanted = {
        "one": f"{message.__name__}, Transaction, EventContext or settings",
        "batch": f"Sequence[{message.__name__}], Transaction, Sequence[EventContext] or settings",
        "async": f"{message.__name__}, EventContext, Transact or settings, {_A_STUB}",
        "broadcast": f"{message.__name__}, EventContext or settings, {_A_STUB}",
    }[kind]
    said = "has no annotation" if hint is None else f"is annotated {hint!r}"
    raise DeclarationError(f"{where} {said}; it can be {wanted}")
