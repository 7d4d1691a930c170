"""The subjects that a service may publish and subscribe to with its own key at the broker.

They are exactly those that its event path uses. The broker denies all others, because they are not
listed.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass

from chassis.events.wire import control_subjects
from chassis.events.wire.contracts import source_service, stream_of, subjects_of
from chassis.events.wire.resending import MOST_ANSWERS

__all__ = ["API", "RELEASE", "Listener", "Permissions", "of_release", "of_service"]

RELEASE = "release"
"""Name of the user that creates the streams; no service may have it."""
API = "$JS.API"


@dataclass(frozen=True, slots=True)
class Permissions:
    """Subjects that may be published and subscribed to.

    `responses` is the number of messages with which a request may be answered, on its reply
    subject; 0 for a user that answers no requests.
    """

    publish: tuple[str, ...]
    subscribe: tuple[str, ...]
    responses: int = 0


@dataclass(frozen=True, slots=True)
class Listener:
    """A type of events that a service handles.

    Every replica receives a `broadcast`; other events are read from the stream of their producer,
    or from the `foreign` stream of a producer outside the platform.
    """

    type: str
    broadcast: bool = False
    foreign: str = ""

    @property
    def stream(self) -> str:
        """The stream that has the events."""
        return self.foreign or stream_of(source_service(self.type))


def of_service(
    service: str,
    *,
    publishes: Collection[str],
    listens: Collection[Listener],
    database: bool,
    api: str = API,
) -> Permissions:
    """Return the permissions of a service, by the types that it publishes and listens to.

    `api` is the prefix of the JetStream API, which depends on the domain.

    Raises:
        ContractError: the broker does not accept the name of a type or of the service.
    """
    read = [listener for listener in listens if not listener.broadcast]
    streams = {listener.stream for listener in read}
    producers = {listener.stream for listener in read if not listener.foreign}
    service_stream = stream_of(service)
    publish: set[str] = set()
    subscribe = {f"{control_subjects.inbox_prefix(service)}.>"}
    subscribe |= {subjects_of(listener.type) for listener in listens if listener.broadcast}
    for stream in streams | ({service_stream} if publishes else set()):
        publish |= {f"{api}.{call}.{stream}" for call in _READ_CALLS}
    for stream in streams:
        publish |= {f"{api}.{call}.{stream}.*" for call in _CONSUMER_CALLS}
    for producer in producers:
        publish |= {
            control_subjects.wake_subject(producer),
            control_subjects.resend_subject(producer),
        }
    if database:
        publish.add(control_subjects.operator_subject(service))
        subscribe.add(control_subjects.operator_subject(service))
    if publishes:
        publish |= {*_subjects_of_package(publishes), control_subjects.wake_subject(service)}
        subscribe |= {
            control_subjects.wake_subject(service),
            control_subjects.resend_subject(service),
        }
    if publishes or read:
        members = control_subjects.members_subject(service, "*")
        publish |= {
            members,
            *(f"{api}.{call}.{control_subjects.MEMBERS_STREAM}" for call in _MEMBERS_CALLS),
        }
        subscribe.add(members)
    responses = MOST_ANSWERS if publishes else 0
    return Permissions(tuple(sorted(publish)), tuple(sorted(subscribe)), responses)


def of_release(services: Collection[str], *, api: str = API) -> Permissions:
    """Return the permissions of a release, which creates streams of services and deletes none."""
    streams = {*map(stream_of, services), control_subjects.MEMBERS_STREAM}
    publish = {f"{api}.{call}.{stream}" for stream in streams for call in _RELEASE_CALLS}
    # This call finds the other stream that has a subject which one of these streams needs.
    publish.add(f"{api}.STREAM.NAMES")
    return Permissions(tuple(sorted(publish)), (f"{control_subjects.inbox_prefix(RELEASE)}.>",))


_READ_CALLS = ("STREAM.INFO", "STREAM.MSG.GET", "DIRECT.GET")
_CONSUMER_CALLS = ("CONSUMER.CREATE", "CONSUMER.MSG.NEXT", "CONSUMER.DELETE")
_MEMBERS_CALLS = ("STREAM.INFO", "DIRECT.GET")
_RELEASE_CALLS = ("STREAM.INFO", "STREAM.CREATE", "STREAM.UPDATE")


def _subjects_of_package(publishes: Collection[str]) -> Iterator[str]:
    """Yield a wildcard for all types of the service's package, as `shop.orders.*.*.*`.

    Another version, which runs concurrently during a rollout, may publish other types of it.
    """
    for type in publishes:
        *owner, _version, _name = type.split(".")
        yield ".".join([*owner, "*", "*", "*"])
