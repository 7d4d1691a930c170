"""gRPC clients and servers of a service."""

from chassis.rpc.client import Clients, client

__all__ = ["Clients", "client"]
