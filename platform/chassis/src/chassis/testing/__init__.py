"""Real servers for tests and local runs: started in milliseconds, killed without mercy."""

from chassis.testing.nats import NatsServer
from chassis.testing.ports import free_port
from chassis.testing.postgres import PostgresServer
from chassis.testing.process import PortInUse, ServerFailed

__all__ = ["NatsServer", "PortInUse", "PostgresServer", "ServerFailed", "free_port"]
