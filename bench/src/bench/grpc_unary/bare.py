"""Bare grpc.aio on uvloop; with OpenTelemetry's interceptor if an endpoint is set."""

from typing import Any

import grpc
import grpc.aio
import uvloop
from opentelemetry.instrumentation.grpc import aio_server_interceptor

from bench.grpc_unary.product import product
from bench.telemetry import provider
from bench.variables import port
from shop.inventory.v1 import GetProductRequest, GetProductResponse, InventoryService


async def get_product(request: GetProductRequest, _context: object) -> GetProductResponse:
    """Return a product."""
    return product(request.sku)


async def serve() -> None:
    """Serve until the process ends."""
    interceptors: list[Any] = []
    if (traces := provider()) is not None:
        interceptors.append(
            aio_server_interceptor(tracer_provider=traces)  # type: ignore[no-untyped-call]
        )
    server = grpc.aio.server(interceptors=interceptors)
    method: Any = grpc.unary_unary_rpc_method_handler(
        get_product,
        request_deserializer=GetProductRequest.FromString,
        response_serializer=GetProductResponse.SerializeToString,
    )
    name = InventoryService.full_name
    services = grpc.method_handlers_generic_handler(name, {"GetProduct": method})
    server.add_generic_rpc_handlers((services,))
    server.add_insecure_port(f"127.0.0.1:{port()}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve())
