"""gRPC's health service, as readiness and shutdown need it."""

import asyncio
from collections.abc import Sequence
from typing import Any

from grpc_health.v1 import health, health_pb2  # type: ignore[import-untyped]

__all__ = ["Health"]


class Health(health.aio.HealthServicer):  # type: ignore[misc]
    """The health of a server and of each of its contracts."""

    def __init__(self, contracts: Sequence[str]) -> None:
        super().__init__()
        self._names = ("", *contracts)  # The empty name means the server as a whole.
        self._ended = asyncio.Event()

    async def set_serving(self, serving: bool) -> None:
        """Report SERVING or NOT_SERVING for all of them."""
        response = health_pb2.HealthCheckResponse
        status = response.SERVING if serving else response.NOT_SERVING
        for name in self._names:
            await self.set(name, status)

    def end_watches(self) -> None:
        """End the calls of Watch, which would otherwise delay the end of the server."""
        self._ended.set()

    async def Watch(self, request: Any, context: Any) -> None:
        """Send changes of a status until the caller leaves or `end_watches` is called."""
        watch = asyncio.ensure_future(super().Watch(request, context))
        end = asyncio.ensure_future(self._ended.wait())
        try:
            await asyncio.wait({watch, end}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            watch.cancel()
            end.cancel()
