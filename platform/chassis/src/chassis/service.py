"""What a service is made of: declared once, in its service.py, and run from its __main__.py."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

from chassis.job import Job

if TYPE_CHECKING:
    from fastapi import APIRouter
    from google.protobuf.descriptor import ServiceDescriptor
    from google.protobuf.message import Message
    from sqlalchemy import MetaData

    from chassis.events.handlers.router import EventRouter
    from chassis.settings import ServiceSettings

__all__ = ["Service"]

F = TypeVar("F", bound=Callable[..., Any])


class Service:
    """A service: its name, its settings, and everything it takes in, gives out and calls.

    Nothing is opened and nothing runs before `chassis.run(service)`, so that tools may import the
    definition to read from it.

    Args:
        name: also its stream's name and its `source` in events.
        settings: its settings' type; tools read the defaults from it.
        events: the routers with its event handlers.
        grpc: the contracts it serves, each with the class that has a method per RPC.
        http: routers of its HTTP surface, beside the probes.
        publishes: every type of event it publishes.
        calls: the contracts of other services it calls.
        tables: its tables; a service with handlers or `publishes` has a database anyway.
        migrations: import path of the package with its alembic revisions, "orders.migrations".
    """

    def __init__(
        self,
        name: str,
        *,
        settings: "type[ServiceSettings]",
        events: "Sequence[EventRouter]" = (),
        grpc: "Sequence[tuple[ServiceDescriptor, type]]" = (),
        http: "Sequence[APIRouter]" = (),
        publishes: "Sequence[type[Message]]" = (),
        calls: "Sequence[ServiceDescriptor]" = (),
        tables: "MetaData | None" = None,
        migrations: str | None = None,
    ) -> None:
        self.name = name
        self.settings_type = settings
        self.events = tuple(events)
        self.grpc = tuple(grpc)
        self.http = tuple(http)
        self.publishes = tuple(publishes)
        self.calls = tuple(calls)
        self.tables = tables
        self.migrations = migrations
        self.jobs: list[Job] = []

    def every(self, *, seconds: float | Callable[[Any], float]) -> Callable[[F], F]:
        """Run a `def` again and again, on one replica at a time.

        It takes a Transaction and settings, by annotation. A run that fails is logged; the next
        comes in its time. `seconds` may be a function of the settings.
        """

        def register(function: F) -> F:
            name = f"{function.__module__}.{function.__qualname__}"
            self.jobs.append(Job(name, function, seconds))
            return function

        return register

    @property
    def has_database(self) -> bool:
        """Whether it keeps anything: tables, events to publish, positions."""
        return bool(
            self.tables is not None
            or self.migrations
            or self.publishes
            or self.jobs
            or any(s.kind != "broadcast" for router in self.events for s in router.subscriptions)
        )
