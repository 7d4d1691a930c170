"""Real servers for tests and local runs, started in milliseconds and killed without mercy; and a
harness for event handlers that needs none."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from chassis.testing.nats import NatsServer
from chassis.testing.ports import free_port
from chassis.testing.postgres import PostgresServer
from chassis.testing.process import PortInUse, ServerFailed

if TYPE_CHECKING:
    from chassis.testing.harness import HandlerHarness

__all__ = [
    "HandlerHarness",
    "NatsServer",
    "PortInUse",
    "PostgresServer",
    "ServerFailed",
    "free_port",
]


def __getattr__(name: str) -> Any:
    # Imported when first used: who only starts servers needs no SQLAlchemy.
    if name == "HandlerHarness":
        return import_module("chassis.testing.harness").HandlerHarness
    raise AttributeError(f"module 'chassis.testing' has no attribute {name!r}")
