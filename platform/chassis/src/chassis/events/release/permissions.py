"""What a service may say to the broker: no more than its event path says, by its own key.

Each subject here has its use in this package. Everything else is denied by not being named.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from chassis.events.wire import transport
from chassis.events.wire.contracts import source_service, stream_of, subjects_of
from chassis.events.wire.resending import MOST_ANSWERS

__all__ = ["API", "RELEASE", "Listener", "Permissions", "of_release", "of_service"]

RELEASE = "release"
"""Who makes the streams; no service has this name."""
API = "$JS.API"


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects that may be published and subscribed. To a request that came it may answer with
    `responses` messages, to the subject that the request names; 0 for who answers nobody."""

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    responses: int = 0


@dataclass(frozen=True, slots=True)
class Listener:
    """What a service subscribes to: a type of events, heard by every replica or taken from the
    stream of its producer, or of one outside the platform (`foreign`)."""

    type: str
    broadcast: bool = False
    foreign: str = ""

    @property
    def stream(self) -> str:
        return self.foreign or stream_of(source_service(self.type))


def of_service(
    service: str,
    *,
    publishes: Collection[str],
    listens: Collection[Listener],
    database: bool,
    api: str = API,
) -> Permissions:
    """What a service may, by the types it publishes and listens to. `api` is the prefix of the
    JetStream API, which a domain changes.

    Raises:
        ContractError: a type or the service has no name that the broker takes.
    """
    taken = [listener for listener in listens if not listener.broadcast]
    streams = {listener.stream for listener in taken}
    producers = {listener.stream for listener in taken if not listener.foreign}
    own = stream_of(service)
    publish: set[str] = set()
    subscribe = {f"{transport.inbox_prefix(service)}.>"}
    subscribe |= {subjects_of(listener.type) for listener in listens if listener.broadcast}
    for stream in streams | ({own} if publishes else set()):
        publish |= {f"{api}.{call}.{stream}" for call in _READING}
    for stream in streams:
        publish |= {f"{api}.{call}.{stream}.*" for call in _CONSUMING}
    for producer in producers:
        publish |= {transport.wake_subject(producer), transport.resend_subject(producer)}
    if database:
        publish.add(transport.operator_subject(service))
        subscribe.add(transport.operator_subject(service))
    if publishes:
        publish |= {*_types_of_its_name(publishes), transport.wake_subject(service)}
        subscribe |= {transport.wake_subject(service), transport.resend_subject(service)}
    if publishes or taken:
        members = transport.members_subject(service, "*")
        publish |= {members, *(f"{api}.{call}.{transport.MEMBERS_STREAM}" for call in _OF_MEMBERS)}
        subscribe.add(members)
    responses = MOST_ANSWERS if publishes else 0
    return Permissions(tuple(sorted(publish)), tuple(sorted(subscribe)), responses)


def of_release(services: Collection[str], *, api: str = API) -> Permissions:
    """What the release may that makes the streams of these services: it deletes none."""
    streams = {*map(stream_of, services), transport.MEMBERS_STREAM}
    publish = {f"{api}.{call}.{stream}" for stream in streams for call in _MAKING}
    # Which stream holds a subject that one of these is to have.
    publish.add(f"{api}.STREAM.NAMES")
    return Permissions(tuple(sorted(publish)), (f"{transport.inbox_prefix(RELEASE)}.>",))


_READING = ("STREAM.INFO", "STREAM.MSG.GET", "DIRECT.GET")
_CONSUMING = ("CONSUMER.CREATE", "CONSUMER.MSG.NEXT", "CONSUMER.DELETE")
_OF_MEMBERS = ("STREAM.INFO", "DIRECT.GET")
_MAKING = ("STREAM.INFO", "STREAM.CREATE", "STREAM.UPDATE")


def _types_of_its_name(publishes: Collection[str]) -> Iterator[str]:
    """Subjects of all types that are the service's by their package, `shop.orders.*.*.*`: a version
    before or after this one publishes others of them, and runs beside it for a while."""
    for type in publishes:
        *owner, _version, _name = type.split(".")
        yield ".".join([*owner, "*", "*", "*"])
