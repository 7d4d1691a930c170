"""The event path: handlers in, events out, each taking effect once."""

from chassis.events.context import EventContext
from chassis.events.handlers import DeclarationError, Reject, Transact
from chassis.events.router import EventRouter

__all__ = ["DeclarationError", "EventContext", "EventRouter", "Reject", "Transact"]
