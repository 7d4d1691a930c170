"""Real servers for tests and local runs, started in milliseconds and killed without mercy; and a
harness for event handlers that needs none."""

from typing import TYPE_CHECKING

from chassis._lazy import lazily
from chassis.testing.nats import NatsServer
from chassis.testing.ports import free_port
from chassis.testing.postgres import PostgresServer
from chassis.testing.process import PortInUse, ServerFailed

if TYPE_CHECKING:
    from chassis.testing.declarations import check_declarations
    from chassis.testing.harness import HandlerHarness

__all__ = [
    "HandlerHarness",
    "NatsServer",
    "PortInUse",
    "PostgresServer",
    "ServerFailed",
    "check_declarations",
    "free_port",
]


# Who only starts servers needs no SQLAlchemy.
__getattr__ = lazily(
    __name__,
    {
        "HandlerHarness": "chassis.testing.harness",
        "check_declarations": "chassis.testing.declarations",
    },
)
