"""gRPC, in and out."""

from chassis.rpc.client import Clients, client

__all__ = ["Clients", "client"]
