"""The parts of a process that all readers of its streams share."""

from collections.abc import Callable
from dataclasses import dataclass

from chassis.database import Database
from chassis.event_settings import EventSettings
from chassis.events.handlers.pauses import Pauses
from chassis.events.jetstream.broker import Broker
from chassis.events.membership.members import Members
from chassis.events.tasks.gate import Gate

__all__ = ["ReaderDependencies"]


@dataclass(frozen=True, slots=True)
class ReaderDependencies:
    """The arguments that every reader needs.

    `on_tasks` is called after a commit that has stored tasks, with the canary that they belong to.
    """

    database: Database
    broker: Broker
    members: Members
    gate: Gate
    pauses: Pauses
    settings: EventSettings
    on_tasks: Callable[[str], None]
