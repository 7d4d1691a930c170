"""A gRPC channel to a replica."""

import grpc.aio

from demo.replicas import Named, Replica

__all__ = ["channel_to", "open_channel"]


def open_channel(address: str, authority: str | None = None) -> grpc.aio.Channel:
    """A channel of its own, as a context manager; a proxy in the environment is not asked."""
    options: list[tuple[str, str | int]] = [("grpc.enable_http_proxy", 0)]
    if authority is not None:
        options.append(("grpc.default_authority", authority))
    return grpc.aio.insecure_channel(address, options=options)


def channel_to(replica: Replica) -> grpc.aio.Channel:
    """A channel to this replica, under the name by which it was found, if it has one."""
    return open_channel(
        replica.grpc_address, replica.authority if isinstance(replica, Named) else None
    )
