"""A real nats-server and PostgreSQL on this machine, for tests and local runs.

Both start in milliseconds, can be killed and paused at any moment, and end with the process that
started them.
"""

from localservers.nats import NatsServer
from localservers.ports import free_port
from localservers.postgres import PostgresServer
from localservers.process import PortInUse, ServerFailed

__all__ = ["NatsServer", "PortInUse", "PostgresServer", "ServerFailed", "free_port"]
