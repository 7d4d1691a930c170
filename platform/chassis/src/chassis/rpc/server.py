"""The gRPC server of a service's contracts."""

import asyncio
import time
from collections.abc import Sequence

import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc  # type: ignore[import-untyped]
from grpc_reflection.v1alpha import reflection  # type: ignore[import-untyped]

from chassis.database import Database
from chassis.limits import LimitSettings
from chassis.ports import GRPC, CannotListen, listen_error
from chassis.rpc.dispatch import Dispatch
from chassis.rpc.handling import CallHandling
from chassis.rpc.health import Health
from chassis.rpc.methods import Method
from chassis.rpc.security import server_credentials
from chassis.settings import ServiceSettings

__all__ = ["RpcServer"]

_KEEPALIVE_TIMEOUT_MS = 20_000


class RpcServer:
    """The gRPC server of a service, with health and reflection."""

    def __init__(
        self,
        contracts: Sequence[tuple[str, Sequence[Method]]],
        settings: ServiceSettings,
        database: Database | None,
        interceptors: Sequence[grpc.aio.ServerInterceptor] = (),
    ) -> None:
        self._settings = settings
        self._calls = CallHandling(settings, database)
        self._server = grpc.aio.server(interceptors=interceptors, options=_options(settings))
        handlers = {
            f"/{name}/{method.name}": self._calls.handler(name, method)
            for name, methods in contracts
            for method in methods
        }
        self._server.add_generic_rpc_handlers((Dispatch(handlers, settings),))
        names = [name for name, _ in contracts]
        self._health = Health(names)
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            [*names, health.SERVICE_NAME, reflection.SERVICE_NAME], self._server
        )
        self.port = 0

    async def start(self) -> None:
        """Listen, and report NOT_SERVING until `set_serving`.

        Raises:
            CannotListen: with the reason.
        """
        await self.set_serving(False)
        host, port = self._settings.grpc_host, self._settings.grpc_port
        address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        credentials = server_credentials(self._settings)
        try:
            if credentials is None:
                self.port = self._server.add_insecure_port(address)
            else:
                self.port = self._server.add_secure_port(address, credentials)
        except RuntimeError as error:
            raise _cannot_listen(error, host, port) from None
        await self._server.start()

    async def set_serving(self, serving: bool) -> None:
        """Report as health whether calls should be sent here; without effect after `drain`."""
        await self._health.set_serving(serving)

    async def drain(self) -> None:
        """Report NOT_SERVING from now on, but continue to serve."""
        await self._health.enter_graceful_shutdown()

    async def stop(self, seconds: float) -> None:
        """Take no new calls, and let running calls finish within `seconds`.

        gRPC may keep a call that reaches the server while it stops, without handing it to a method.
        Such calls are cancelled after all others have ended, so that their callers repeat them on
        another server.
        """
        self._health.end_watches()
        begun = time.monotonic()
        async with asyncio.TaskGroup() as group:
            stopping = group.create_task(self._server.stop(seconds))
            while not stopping.done() and (left := self._calls.seconds_until_idle(begun)) > 0:
                await asyncio.wait([stopping], timeout=left)
            await self._server.stop(None)
        self._calls.close()


def _options(limits: LimitSettings) -> list[tuple[str, int]]:
    """Return gRPC's options for a server with these limits."""
    return [
        # Otherwise two processes could bind one port, and each would get half of the calls.
        ("grpc.so_reuseport", 0),
        # Callers may send keep-alive pings at this interval.
        ("grpc.http2.min_ping_interval_without_data_ms", 5000),
        ("grpc.max_allowed_incoming_connections", limits.grpc_max_connections),
        ("grpc.max_concurrent_streams", limits.grpc_max_streams),
        ("grpc.max_receive_message_length", limits.grpc_max_message_bytes),
        # A request above the first number may be refused, one above the second always is.
        ("grpc.max_metadata_size", limits.grpc_max_metadata_bytes),
        ("grpc.absolute_max_metadata_size", limits.grpc_max_metadata_bytes),
        ("grpc.server_handshake_timeout_ms", _milliseconds(limits.grpc_handshake_timeout_seconds)),
        ("grpc.max_connection_idle_ms", _milliseconds(limits.grpc_idle_timeout_seconds)),
        ("grpc.keepalive_time_ms", _milliseconds(limits.grpc_keepalive_seconds)),
        ("grpc.keepalive_timeout_ms", _KEEPALIVE_TIMEOUT_MS),
    ]


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _cannot_listen(error: RuntimeError, host: str, port: int) -> CannotListen:
    """Return the reason why gRPC cannot listen, which its own error does not tell."""
    return listen_error(host, port, GRPC) or CannotListen(
        f"gRPC cannot listen on port {port} of {host}: {error}"
    )
