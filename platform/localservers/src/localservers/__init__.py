"""A real nats-server, PostgreSQL and Envoy on this machine, for tests and local runs.

All start in milliseconds, can be killed and paused at any moment, and end with the process that
started them.
"""

from localservers.envoy import EnvoyServer
from localservers.nats import NatsServer
from localservers.ports import free_port
from localservers.postgres import PostgresServer
from localservers.process import PortInUse, ServerFailed

__all__ = ["EnvoyServer", "NatsServer", "PortInUse", "PostgresServer", "ServerFailed", "free_port"]
