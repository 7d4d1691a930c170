"""A backend of traces that discards what it gets."""

import asyncio
from typing import Any

import grpc
import grpc.aio

from bench.variables import port

_SERVICE = "opentelemetry.proto.collector.trace.v1.TraceService"


async def _discard(_request: bytes, _context: object) -> bytes:
    return b""


async def serve() -> None:
    """Answer each export with an empty response."""
    server = grpc.aio.server()
    export: Any = grpc.unary_unary_rpc_method_handler(_discard)
    services = grpc.method_handlers_generic_handler(_SERVICE, {"Export": export})
    server.add_generic_rpc_handlers((services,))
    server.add_insecure_port(f"127.0.0.1:{port()}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(serve())
