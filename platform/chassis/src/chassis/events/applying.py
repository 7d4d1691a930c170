"""Makes what a service needs at the broker: the work of `broker apply`, done by a release.

Nothing is deleted, and nothing changed that an operator may have chosen: streams are made, subjects
added, and what the event path cannot do without is turned on. All else that differs is said.
"""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Literal

from nats.aio.client import Client

from chassis.events.contracts import subjects_of
from chassis.events.members import members_config
from chassis.events.owned_stream import extend_stream, look_at_stream, make_stream
from chassis.events.settings import EventSettings
from chassis.events.streams import JetStreamError, StreamGone, api, names_holding, stream_state
from chassis.events.wire import MEMBERS_STREAM

__all__ = ["Applied", "Known", "SubjectsHeld", "apply_members_stream", "apply_own_stream"]

_SUBJECTS_OVERLAP = 10065
_NAME_IN_USE = 10058
_TURNED_ON = ("allow_atomic", "allow_direct")
_OF_MEMBERS = (
    "subjects",
    "max_msgs_per_subject",
    "storage",
    "allow_rollup_hdrs",
    "allow_direct",
    "allow_msg_ttl",
    "num_replicas",
)


class SubjectsHeld(Exception):
    """Another stream holds the subjects; the message names it."""


@dataclass(frozen=True, slots=True)
class Known:
    """What the service's database knows: up to which rank events were sent, and the types of those
    that its outbox holds. One that has `no_tables` yet has sent none."""

    sent_rank: int
    types: frozenset[str]
    no_tables: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """What was done to a stream, or is to be done, and with what: subjects, settings. `drift` has a
    line for each setting that differs and is left as it is."""

    stream: str
    done: Literal["made", "extended", "unchanged"]
    what: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()


async def apply_own_stream(
    client: Client,
    stream: str,
    types: Sequence[str],
    settings: EventSettings,
    known: Known | None,
    *,
    change: bool = True,
) -> Applied:
    """Make the service's stream, or add to it what it lacks. Without `change`: say what would be.

    `known` is None where no database can be asked: a stream that is made then does not say up to
    which rank events had been sent before.

    Raises:
        LaneCountChanged: it has another number of lanes.
        SubjectsHeld: another stream has its subjects.
        JetStreamError, TimeoutError, nats.errors.Error: the broker refused, or did not answer.
    """
    all_types = sorted({*types, *(known.types if known else ())})
    subjects = tuple(map(subjects_of, all_types))
    try:
        owned = await look_at_stream(client, stream, all_types, settings)
    except StreamGone:
        if change:
            async with _told_who_holds(client, stream, subjects):
                rank = known.sent_rank if known else None
                await make_stream(client, stream, all_types, settings, rank)
        return Applied(stream, "made", subjects)
    off = tuple(name for name in _TURNED_ON if not owned.state.config.get(name))
    drift = tuple(line for line in owned.drift if not line.startswith(_TURNED_ON))
    added = (*owned.lacks, *off)
    if not added:
        return Applied(stream, "unchanged", (), drift)
    if change:
        async with _told_who_holds(client, stream, owned.lacks):
            await extend_stream(client, stream, owned, **dict.fromkeys(off, True))
    return Applied(stream, "extended", added, drift)


async def apply_members_stream(client: Client, replicas: int, *, change: bool = True) -> Applied:
    """Make the stream in which members announce themselves, if it is missing.

    Raises:
        SubjectsHeld: another stream has its subjects.
        JetStreamError, TimeoutError, nats.errors.Error: the broker refused, or did not answer.
    """
    wanted = members_config(replicas)
    try:
        config = (await stream_state(client, MEMBERS_STREAM)).config
    except StreamGone:
        if change:
            async with _told_who_holds(client, MEMBERS_STREAM, wanted["subjects"]):
                await api(client, f"STREAM.CREATE.{MEMBERS_STREAM}", wanted)
        return Applied(MEMBERS_STREAM, "made", tuple(wanted["subjects"]))
    drift = tuple(
        f"{name} {config.get(name)!r}, wanted {wanted[name]!r}: delete the stream and apply again; "
        "its members announce themselves again within seconds"
        for name in _OF_MEMBERS
        if config.get(name) != wanted[name]
    )
    return Applied(MEMBERS_STREAM, "unchanged", (), drift)


@asynccontextmanager
async def _told_who_holds(
    client: Client, stream: str, subjects: Sequence[str]
) -> AsyncIterator[None]:
    try:
        yield
    except JetStreamError as error:
        if error.error_code == _SUBJECTS_OVERLAP:
            held = [
                f"stream {name!r} holds {subject}"
                for subject in subjects
                for name in await names_holding(client, subject)
                if name != stream
            ]
            raise SubjectsHeld(f"not in stream {stream!r}, since {', '.join(held)}") from error
        if error.error_code != _NAME_IN_USE:  # by another apply, which was faster
            raise
