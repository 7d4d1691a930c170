"""Clients of other services: one channel per service, balanced over its replicas.

A call gets at most the time that is left for the request it serves. It passes on that request's
trace, its baggage and the headers that `chassis/forwarding.py` selects. Errors of the called
service are raised as domain errors.
"""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Any, TypeVar

from fastapi.requests import HTTPConnection
from google.protobuf.descriptor import ServiceDescriptor

from chassis.calls import Call, undeclared_call
from chassis.rpc.channel import DomainChannel, open_channel
from chassis.rpc.security import RenewedChannel, call_certificates
from chassis.settings import ServiceSettings

__all__ = ["Clients", "client", "target_name"]

T = TypeVar("T")


def target_name(contract: ServiceDescriptor) -> str:
    """Return the name of the service that serves a contract: `orders` of shop.orders.v1."""
    parts = contract.file.package.split(".")
    return parts[-2] if len(parts) > 1 else parts[0]


def client(
    contract: ServiceDescriptor, stub: Callable[..., T]
) -> Callable[[HTTPConnection], Awaitable[T]]:
    """Return a FastAPI dependency that is the stub of a contract which the service calls.

    Orders = Annotated[OrdersServiceAsyncStub, Depends(client(OrdersService, OrdersServiceStub))]

    An `async def` event handler or RPC method may have a parameter with this annotation too.
    """
    return _StubOfRequest(contract, stub)


class _StubOfRequest(Call):
    # FastAPI would run a def on a thread.
    async def __call__(self, connection: HTTPConnection) -> Any:
        clients: Clients = connection.app.state.clients
        return clients.stub(self.contract, self.stub)


class Clients:
    """The stubs of the contracts that a service calls. To be used within the event loop."""

    def __init__(
        self, service: str, calls: Sequence[ServiceDescriptor], settings: ServiceSettings
    ) -> None:
        self._service = service
        self._calls = tuple(calls)
        self._settings = settings
        self._channels: dict[str, RenewedChannel] = {}
        self._stubs: dict[tuple[str, Callable[..., Any]], Any] = {}

    def stub(self, contract: ServiceDescriptor, stub: Callable[..., T]) -> T:
        """Return the stub of a contract; `await stub.Method(request)` raises domain errors.

        Raises:
            LookupError: the service does not declare that it calls this contract.
        """
        key = (contract.full_name, stub)
        if key not in self._stubs:
            if problem := undeclared_call(contract, self._calls, self._service):
                raise LookupError(problem)
            name, timeout = target_name(contract), self._settings.call_timeout_seconds
            self._stubs[key] = stub(DomainChannel(self._channel(name), name, timeout))
        made: T = self._stubs[key]
        return made

    def _channel(self, name: str) -> RenewedChannel:
        """Return the channel to a service, opened at the first call."""
        if name not in self._channels:
            self._channels[name] = RenewedChannel(
                partial(open_channel, self._settings.targets[name], self._settings),
                call_certificates(self._settings),
                end_seconds=self._settings.call_timeout_seconds,
            )
        return self._channels[name]

    async def close(self) -> None:
        """Close every channel, and cancel running calls."""
        for channel in self._channels.values():
            await channel.close()
