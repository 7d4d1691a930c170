"""The sources of a shadow: the event types of each stream that a service reads."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from chassis.events.jetstream.stored_messages import Stored
from chassis.events.wire.contracts import source_service, stream_of, type_of_subject

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["Source", "sources_of"]


@dataclass(frozen=True, slots=True)
class Source:
    """Events of one stream: of these types or, in a stream of a producer outside the platform, all
    messages of the subject `foreign`.

    `restoring` events are the service's own, of which a shadow restores state.
    """

    stream: str
    types: frozenset[str]
    foreign: str = ""
    restoring: bool = False

    @property
    def subject(self) -> str:
        """The filter of the messages to read."""
        return self.foreign or ">"

    def has(self, stored: Stored) -> bool:
        """Return whether a message of the stream is an event to replay."""
        if self.foreign:
            return True
        return stored.number > 0 and type_of_subject(stored.subject) in self.types


def sources_of(service: "Service") -> Iterator[Source]:
    """Yield the sources of a service's events, in the order of their names."""
    numbered: dict[str, set[str]] = {}
    foreign = set()
    for subscription in (s for router in service.events for s in router.subscriptions):
        if subscription.foreign:
            foreign.add(subscription.foreign)
        elif subscription.kind != "broadcast":
            stream = stream_of(source_service(subscription.type))
            numbered.setdefault(stream, set()).add(subscription.type)
    for stream, types in sorted(numbered.items()):
        yield Source(stream, frozenset(types))
    for each in sorted(foreign):
        yield Source(each.stream, frozenset(), each.subject)
    if service.shadow and service.shadow.restores:
        restored = (s.type for router in service.shadow.restores for s in router.subscriptions)
        yield Source(stream_of(service.name), frozenset(restored), restoring=True)
