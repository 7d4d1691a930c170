"""The definition of a service: written in its service.py and run from its __main__.py."""

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
    from chassis.shadow_state import Shadow

__all__ = ["Service"]

F = TypeVar("F", bound=Callable[..., Any])


class Service:
    """The definition of a service: its name, settings, inputs, outputs and calls.

    Nothing is opened and nothing runs before `chassis.run(service)`, so that tools can import the
    definition and read it.

    Args:
        name: also its stream's name and its `source` in events.
        settings: the class of its settings; tools read the defaults from it.
        events: the routers with its event handlers.
        grpc: the contracts that it serves, each with the class that has a method per RPC.
        http: the routers of its own HTTP routes, in addition to the probes.
        publishes: every type of event that it publishes.
        calls: the contracts of other services that it calls.
        tables: its tables; a service with handlers or `publishes` has a database without them too.
        migrations: import path of the package with its alembic revisions, "orders.migrations".
        shadow: the state that its shadow needs besides what its event handlers write.
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
        shadow: "Shadow | None" = None,
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
        self.shadow = shadow
        self.jobs: list[Job] = []

    def every(self, *, seconds: float | Callable[[Any], float]) -> Callable[[F], F]:
        """Register a `def` that runs every `seconds`, on one replica at a time.

        Its parameters are a Transaction and the settings, by annotation. A run that fails is
        logged; the next one comes as usual. `seconds` may be a function of the settings.
        """

        def register(function: F) -> F:
            name = f"{function.__module__}.{function.__qualname__}"
            self.jobs.append(Job(name, function, seconds))
            return function

        return register

    @property
    def has_database(self) -> bool:
        """Whether it stores anything: tables, events to publish, jobs, or positions of handlers."""
        return bool(
            self.tables is not None
            or self.migrations
            or self.publishes
            or self.jobs
            or any(s.kind != "broadcast" for router in self.events for s in router.subscriptions)
        )
