"""Arbitrary requests to every gRPC method get a documented status without internal details."""

import asyncio
from collections.abc import Iterator
from importlib.metadata import entry_points
from uuid import uuid4

import grpc
import pytest
from generated_messages import messages
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from storefront import Storefront

from chassis import Service
from devkit.platform import Platform
from slipway.v1 import LedgerService

pytestmark = [
    pytest.mark.xdist_group("shop"),
    pytest.mark.usefixtures("everything_ends"),
]


def contracts() -> Iterator[tuple[str, ServiceDescriptor]]:
    """Yield the name of each service with each of its contracts."""
    for entry in sorted(entry_points(group="slipway.services")):
        service: Service = entry.load()
        served = [contract for contract, _ in service.grpc]
        if service.has_database:
            served.append(LedgerService)
        yield from ((service.name, contract) for contract in served)


METHODS = [
    pytest.param(service, method, id=f"{service}-{method.full_name}")
    for service, contract in contracts()
    for method in contract.methods
]
ANSWERS = {
    grpc.StatusCode.OK,
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
}
EXAMPLES = 40
OPTIONS = settings(
    max_examples=EXAMPLES,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)


class Caller:
    """A client of one method that sends bytes."""

    def __init__(self, platform: Platform, service: str, method: MethodDescriptor) -> None:
        address = platform.of(service)[0].grpc_address
        self.channel = grpc.insecure_channel(address, [("grpc.enable_http_proxy", 0)])
        path = f"/{method.containing_service.full_name}/{method.name}"
        self._call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = self.channel.unary_unary(
            path, request_serializer=None, response_deserializer=None
        )

    def send(self, request: bytes) -> grpc.StatusCode:
        """Return the status of the answer, which must not have the text of an unexpected error."""
        try:
            self._call(request, timeout=30)
        except grpc.RpcError as error:
            code, details = error.code(), error.details() or ""
            assert code in ANSWERS, (code, details)
            assert "Error" not in details
            assert "Exception" not in details
            return code
        return grpc.StatusCode.OK

    def serving(self) -> bool:
        request = health_pb2.HealthCheckRequest()
        answer = health_pb2_grpc.HealthStub(self.channel).Check(request, timeout=30)
        return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


@pytest.mark.parametrize(("service", "method"), METHODS)
def test_undecodable_bytes_are_an_invalid_argument(
    platform: Platform, service: str, method: MethodDescriptor
) -> None:
    caller = Caller(platform, service, method)

    @OPTIONS
    @given(request=st.binary(max_size=200))
    def send(request: bytes) -> None:
        caller.send(request)

    with caller.channel:
        send()
        assert caller.send(b"\xff") is grpc.StatusCode.INVALID_ARGUMENT
        assert caller.serving()


@pytest.mark.parametrize(("service", "method"), METHODS)
def test_any_message_gets_a_documented_status(
    platform: Platform, service: str, method: MethodDescriptor
) -> None:
    caller = Caller(platform, service, method)
    sku = asyncio.run(_product(platform))
    valid = (sku, "USD", f"order-{uuid4().hex[:8]}", "customer-garbage")

    @OPTIONS
    @given(request=messages(method.input_type, valid))
    def send(request: object) -> None:
        caller.send(request.SerializeToString())  # type: ignore[attr-defined]

    with caller.channel:
        send()
        assert caller.serving()


async def _product(platform: Platform) -> str:
    async with Storefront(platform) as shop:
        return await shop.product(stock=10**9)
