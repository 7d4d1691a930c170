"""A plain class made to answer a contract: each of its methods bound to an RPC."""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from chassis.calls import Call, StubOf, hints_of, no_stub, undeclared
from chassis.database import ReadTransaction, Transaction
from chassis.settings import ServiceSettings

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["Method", "bind", "only_reads", "problems"]

Kind = Literal["write", "read", "plain", "async"]


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC and what answers it.

    `call(request, tx)` calls it; `tx` is ignored by those that take none. `kind` says where: on a
    thread in a writing or reading transaction or in none, or on the event loop.
    """

    name: str
    request: type[Message]
    response: type[Message]
    kind: Kind
    call: Callable[[Message, Any], Any]


def snake(rpc: str) -> str:
    """The Python name of an RPC: GetEventLedger is get_event_ledger."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", rpc).lower()


def only_reads(rpc: MethodDescriptor) -> bool:
    """Whether the contract says so, by protobuf's own `idempotency_level = NO_SIDE_EFFECTS`."""
    options = rpc.GetOptions()
    return bool(options.idempotency_level == options.NO_SIDE_EFFECTS)


def problems(service: "Service") -> Iterator[str]:
    """What keeps the classes of a service from answering their contracts, a line each."""
    for contract, implementation in service.grpc:
        try:
            instance = implementation()
        except TypeError:
            yield f"{_where(implementation)}: is made without arguments; give it an empty __init__"
            continue
        names = {snake(rpc.name): rpc for rpc in contract.methods}
        for name, rpc in names.items():
            method = getattr(instance, name, None)
            if method is None:
                yield (
                    f"{_where(implementation)}: has no method {name} for the RPC {rpc.full_name}"
                )
                continue
            yield from _method_problems(rpc, method, service)
        for name in vars(implementation):
            if not name.startswith("_") and name not in names:
                yield (
                    f"{_where(implementation)}.{name}: {contract.full_name} has no such RPC; "
                    "begin its name with _ if it is not meant as one"
                )


def _method_problems(
    rpc: MethodDescriptor, method: Callable[..., Any], service: "Service"
) -> Iterator[str]:
    where, settings_type = _where(method), service.settings_type
    if rpc.client_streaming or rpc.server_streaming:
        yield f"{where}: {rpc.full_name} streams; the chassis serves unary RPCs only"
        return
    try:
        hints = hints_of(method)
    except NameError as error:
        yield f"{where}: cannot read its annotations, {error}; import what they name"
        return
    request, response = GetMessageClass(rpc.input_type), GetMessageClass(rpc.output_type)
    kinds = []
    for parameter in inspect.signature(method).parameters:
        hint = hints.get(parameter)
        kind = _parameter(hint, request, settings_type)
        if kind is None:
            yield (
                f"{where}({parameter}): is annotated {_name(hint)}; it can be {request.__name__}, "
                f"Transaction, ReadTransaction or {settings_type.__name__}"
            )
        kinds.append(kind)
        if isinstance(hint, Call):
            yield from _call_problems(f"{where}({parameter})", hint, method, service)
    if kinds.count("request") != 1:
        yield f"{where}: must take the {request.__name__} of {rpc.full_name} once"
    if hints.get("return") is not response:
        yield f"{where}: must return {response.__name__}, not {_name(hints.get('return'))}"
    transactions = kinds.count("write") + kinds.count("read")
    if transactions > 1:
        yield f"{where}: takes one transaction at most"
    if transactions and not service.has_database:
        yield f"{where}: takes a transaction; give {service.name} its tables=... or publishes=..."
    contract = rpc.containing_service.file.name
    if "write" in kinds and only_reads(rpc):
        yield (
            f"{where}: takes a Transaction, and {rpc.full_name} only reads by its contract; take a "
            f"ReadTransaction, or remove idempotency_level from the method in {contract}"
        )
    if "read" in kinds and not only_reads(rpc):
        yield (
            f"{where}: takes a ReadTransaction, so {rpc.full_name} only reads; say so in "
            f"{contract}: `option idempotency_level = NO_SIDE_EFFECTS;` in the method"
        )
    if transactions and inspect.iscoroutinefunction(method):
        yield (
            f"{where}: an async def takes no transaction, since a transaction never waits on the "
            "network; make it a def"
        )


def _call_problems(
    where: str, call: Call, method: Callable[..., Any], service: "Service"
) -> Iterator[str]:
    if not inspect.iscoroutinefunction(method):
        yield f"{where}: a def calls no service; make it an async def"
    if call.contract not in service.calls:
        yield f"{where}: {undeclared(call.contract.full_name, service.name)}"


def _parameter(
    hint: Any, request: type[Message], settings_type: type[ServiceSettings]
) -> Literal["request", "write", "read", "settings", "stub"] | None:
    if isinstance(hint, Call):
        return "stub"
    if hint is request:
        return "request"
    if hint is Transaction:
        return "write"
    if hint is ReadTransaction:
        return "read"
    if inspect.isclass(hint) and issubclass(settings_type, hint) and hint is not object:
        return "settings"
    return None


def bind(
    contract: ServiceDescriptor,
    implementation: type,
    settings: ServiceSettings,
    stub_of: StubOf = no_stub,
) -> list[Method]:
    """The methods of a class that `problems` has nothing against."""
    instance = implementation()
    return [
        _bound(rpc, getattr(instance, snake(rpc.name)), settings, stub_of)
        for rpc in contract.methods
    ]


def _bound(
    rpc: MethodDescriptor, method: Callable[..., Any], settings: ServiceSettings, stub_of: StubOf
) -> Method:
    request, response = GetMessageClass(rpc.input_type), GetMessageClass(rpc.output_type)
    hints = hints_of(method)
    sources = {
        parameter: _parameter(hints.get(parameter), request, type(settings))
        for parameter in inspect.signature(method).parameters
    }
    fixed: dict[str, Any] = {n: settings for n, source in sources.items() if source == "settings"}
    fixed |= {n: stub_of(h.contract, h.stub) for n, h in hints.items() if isinstance(h, Call)}
    (request_name,) = (name for name, source in sources.items() if source == "request")
    transaction = next((n for n, source in sources.items() if source in ("write", "read")), None)

    def call(message: Message, tx: Any) -> Any:
        if transaction is None:
            return method(**{request_name: message}, **fixed)
        return method(**{request_name: message, transaction: tx}, **fixed)

    kind: Kind = "plain"
    if inspect.iscoroutinefunction(method):
        kind = "async"
    elif transaction is not None:
        kind = "write" if sources[transaction] == "write" else "read"
    return Method(rpc.name, request, response, kind, call)


def _where(thing: Any) -> str:
    return f"{thing.__module__}.{thing.__qualname__}"


def _name(hint: Any) -> str:
    if hint is None:
        return "nothing"
    return getattr(hint, "__name__", str(hint))
