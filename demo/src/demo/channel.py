"""gRPC channels to replicas."""

import grpc.aio

from demo.replicas import NamedReplica, Replica

__all__ = ["channel_to", "open_channel"]


def open_channel(address: str, authority: str | None = None) -> grpc.aio.Channel:
    """Open a channel without the proxy of the environment; use it as a context manager."""
    options: list[tuple[str, str | int]] = [("grpc.enable_http_proxy", 0)]
    if authority is not None:
        options.append(("grpc.default_authority", authority))
    return grpc.aio.insecure_channel(address, options=options)


def channel_to(replica: Replica) -> grpc.aio.Channel:
    """Open a channel to a replica, with its authority if it was found by a name."""
    return open_channel(
        replica.grpc_address, replica.authority if isinstance(replica, NamedReplica) else None
    )
