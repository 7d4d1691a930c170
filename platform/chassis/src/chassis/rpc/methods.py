"""RPC methods of a plain class, each bound to its RPC of the contract."""

import inspect
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from chassis.calls import StubOf, no_stub
from chassis.database import ReadTransaction, Transaction
from chassis.parameters import Parameters, full_name, resolve_parameters, short_name
from chassis.settings import ServiceSettings

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["Method", "bind", "only_reads", "problems"]

Kind = Literal["write", "read", "plain", "async"]
# Names of the arguments that a method is called with.
_REQUEST, _WRITE, _READ = "request", "write", "read"


@dataclass(frozen=True, slots=True)
class Method:
    """An RPC and the function that answers it.

    `call(request, tx)` calls the function, which ignores `tx` if it takes no transaction. `kind`
    says where it runs: on a thread in a writing or a reading transaction or in none ("plain"), or
    on the event loop.
    """

    name: str
    request: type[Message]
    response: type[Message]
    kind: Kind
    call: Callable[[Message, Any], Any]


def snake(rpc: str) -> str:
    """Return the Python name of an RPC: get_event_ledger for GetEventLedger."""
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", rpc).lower()


def only_reads(rpc: MethodDescriptor) -> bool:
    """Return whether the contract says that the RPC only reads: `idempotency_level =
    NO_SIDE_EFFECTS`, one of protobuf's own options."""
    options = rpc.GetOptions()
    return bool(options.idempotency_level == options.NO_SIDE_EFFECTS)


def problems(service: "Service", settings: ServiceSettings, stub_of: StubOf) -> Iterator[str]:
    """Yield what keeps the classes of a service from serving their contracts, a line each."""
    for contract, implementation in service.grpc:
        where = full_name(implementation)
        try:
            instance = implementation()
        except TypeError:
            yield f"{where}: is made without arguments; give it an empty __init__"
            continue
        names = {snake(rpc.name): rpc for rpc in contract.methods}
        for name, rpc in names.items():
            method = getattr(instance, name, None)
            if method is None:
                yield f"{where}: has no method {name} for the RPC {rpc.full_name}"
            elif rpc.client_streaming or rpc.server_streaming:
                yield f"{where}.{name}: {rpc.full_name} streams; the chassis serves unary RPCs only"
            else:
                parameters = _parameters(rpc, method, settings, stub_of)
                yield from _signature_problems(rpc, method, parameters)
                yield from _transaction_problems(rpc, method, parameters, service)
        for name in vars(implementation):
            if not name.startswith("_") and name not in names:
                yield (
                    f"{where}.{name}: {contract.full_name} has no such RPC; "
                    "begin its name with _ if it is not meant as one"
                )


def _parameters(
    rpc: MethodDescriptor, method: Callable[..., Any], settings: ServiceSettings, stub_of: StubOf
) -> Parameters:
    """Resolve the parameters of a method: its request, a transaction, settings, stubs."""
    request = GetMessageClass(rpc.input_type)
    offers = {request: _REQUEST, Transaction: _WRITE, ReadTransaction: _READ}
    return resolve_parameters(method, offers, settings, stub_of)


def _signature_problems(
    rpc: MethodDescriptor, method: Callable[..., Any], parameters: Parameters
) -> Iterator[str]:
    """Yield what is wrong with a method's request and response types."""
    where, response = full_name(method), GetMessageClass(rpc.output_type)
    yield from parameters.problems
    if len(parameters.filled_by(_REQUEST)) != 1:
        yield f"{where}: must take the {rpc.input_type.name} of {rpc.full_name} once"
    if parameters.returns is not response:
        returned = "nothing" if parameters.returns is None else short_name(parameters.returns)
        yield f"{where}: must return {response.__name__}, not {returned}"


def _transaction_problems(
    rpc: MethodDescriptor, method: Callable[..., Any], parameters: Parameters, service: "Service"
) -> Iterator[str]:
    """Yield what is wrong with the transaction that a method takes."""
    where, contract = full_name(method), rpc.containing_service.file.name
    writes, reads = parameters.filled_by(_WRITE), parameters.filled_by(_READ)
    if len(writes) + len(reads) > 1:
        yield f"{where}: takes one transaction at most"
    if (writes or reads) and not service.has_database:
        yield f"{where}: takes a transaction; give {service.name} its tables=... or publishes=..."
    if writes and only_reads(rpc):
        yield (
            f"{where}: takes a Transaction, and {rpc.full_name} only reads by its contract; take a "
            f"ReadTransaction, or remove idempotency_level from the method in {contract}"
        )
    if reads and not only_reads(rpc):
        yield (
            f"{where}: takes a ReadTransaction, so {rpc.full_name} only reads; say so in "
            f"{contract}: `option idempotency_level = NO_SIDE_EFFECTS;` in the method"
        )
    if (writes or reads) and inspect.iscoroutinefunction(method):
        yield (
            f"{where}: an async def takes no transaction, since a transaction never waits on the "
            "network; make it a def"
        )


def bind(
    contract: ServiceDescriptor,
    implementation: type,
    settings: ServiceSettings,
    stub_of: StubOf = no_stub,
) -> list[Method]:
    """Return the methods of a class for which `problems` yields nothing."""
    instance = implementation()
    return [
        _bound(rpc, getattr(instance, snake(rpc.name)), settings, stub_of)
        for rpc in contract.methods
    ]


def _bound(
    rpc: MethodDescriptor, method: Callable[..., Any], settings: ServiceSettings, stub_of: StubOf
) -> Method:
    """Return an RPC's method with its settings and stubs filled in."""
    parameters = _parameters(rpc, method, settings, stub_of)
    fixed = parameters.fixed
    (request,) = parameters.filled_by(_REQUEST)
    writes, reads = parameters.filled_by(_WRITE), parameters.filled_by(_READ)
    transaction = next(iter(writes or reads), None)

    def call(message: Message, tx: Any) -> Any:
        if transaction is None:
            return method(**{request: message}, **fixed)
        return method(**{request: message, transaction: tx}, **fixed)

    kind: Kind = "plain"
    if inspect.iscoroutinefunction(method):
        kind = "async"
    elif transaction is not None:
        kind = "write" if writes else "read"
    return Method(
        rpc.name, GetMessageClass(rpc.input_type), GetMessageClass(rpc.output_type), kind, call
    )
