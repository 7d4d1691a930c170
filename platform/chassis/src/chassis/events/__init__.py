"""The event path: handlers in, events out, each taking effect once."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from chassis.events.cloudevents import decode, to_structured
    from chassis.events.ids import uuid7

__all__ = ["decode", "to_structured", "uuid7"]

# Imported when first used: the modules of this package import each other.
_HOMES = {
    "decode": "chassis.events.cloudevents",
    "to_structured": "chassis.events.cloudevents",
    "uuid7": "chassis.events.ids",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'chassis.events' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value
