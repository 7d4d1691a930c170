"""The event path: publishing and handling of events, each of which takes effect once."""

from typing import TYPE_CHECKING

from chassis._lazy import lazy_getattr

if TYPE_CHECKING:
    from chassis.events.wire.decoding import decode
    from chassis.events.wire.encoding import to_structured
    from chassis.ids import uuid7

__all__ = ["decode", "to_structured", "uuid7"]

# Names are imported on first use because modules of this package import each other.
_HOMES = {
    "decode": "chassis.events.wire.decoding",
    "to_structured": "chassis.events.wire.encoding",
    "uuid7": "chassis.ids",
}


__getattr__ = lazy_getattr(__name__, _HOMES)
