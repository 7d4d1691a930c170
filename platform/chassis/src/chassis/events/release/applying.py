"""Makes what a service needs at the broker: the work of `broker apply`, done by a release.

Nothing is deleted, and nothing changed that an operator may have chosen: streams are made, subjects
added, and what the event path cannot do without is turned on. All else that differs is said.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Literal

from nats.aio.client import Client

from chassis.event_settings import EventSettings
from chassis.events.jetstream.api import JetStreamError, StreamGone, api_request
from chassis.events.jetstream.owned_stream import extend_stream, look_at_stream, make_stream
from chassis.events.jetstream.streams import stream_state, streams_with_subject
from chassis.events.membership.members_stream import members_config
from chassis.events.wire.contracts import subjects_of
from chassis.events.wire.transport import MEMBERS_STREAM

__all__ = ["Applied", "Known", "SubjectsHeld", "apply_members_stream", "apply_own_stream"]

_SUBJECTS_OVERLAP = 10065
_NAME_IN_USE = 10058
# The broker has no compare-and-set for a stream's configuration: who looked at it before another
# release extended it, and writes after that, takes away again what was added. So the stream is
# looked at again, once whoever had looked before has written, and extended until it lacks nothing.
_OTHERS_WRITE_SECONDS = (0.5, 1.0)
_MOST_LOOKS = 10
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
    """The change of one stream, made or only proposed. `what` names the subjects and settings that
    were added; `drift` has a line for each setting that differs and is left as it is."""

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
    rank = known.sent_rank if known else None
    added: dict[str, None] = {}
    for _ in range(_MOST_LOOKS):
        try:
            owned = await look_at_stream(client, stream, all_types, settings)
        except StreamGone:
            making = partial(make_stream, client, stream, all_types, settings, rank)
            if not change or await _make(client, stream, subjects, making):
                return Applied(stream, "made", subjects)
            continue
        off = tuple(name for name in _TURNED_ON if not owned.state.config.get(name))
        lacks = (*owned.lacks, *off)
        if change and lacks:
            async with _told_who_holds(client, stream, owned.lacks):
                await extend_stream(client, stream, owned, **dict.fromkeys(off, True))
            added |= dict.fromkeys(lacks)
            await asyncio.sleep(random.uniform(*_OTHERS_WRITE_SECONDS))
            continue
        what = tuple(added) or lacks
        drift = tuple(line for line in owned.drift if not line.startswith(_TURNED_ON))
        return Applied(stream, "extended" if what else "unchanged", what, drift)
    raise JetStreamError(
        503,
        0,
        f"stream {stream!r} still lacks {', '.join(added)} after {_MOST_LOOKS} tries: "
        "another client removes them, or the broker is too old for them",
    )


async def apply_members_stream(client: Client, replicas: int, *, change: bool = True) -> Applied:
    """Make the stream in which members announce themselves, if it is missing.

    Raises:
        SubjectsHeld: another stream has its subjects.
        JetStreamError, TimeoutError, nats.errors.Error: the broker refused, or did not answer.
    """
    wanted = members_config(replicas)
    subjects = tuple(wanted["subjects"])
    try:
        config = (await stream_state(client, MEMBERS_STREAM)).config
    except StreamGone:
        making = partial(api_request, client, f"STREAM.CREATE.{MEMBERS_STREAM}", wanted)
        if not change or await _make(client, MEMBERS_STREAM, subjects, making):
            return Applied(MEMBERS_STREAM, "made", subjects)
        config = (await stream_state(client, MEMBERS_STREAM)).config
    drift = tuple(
        f"{name} {config.get(name)!r}, wanted {wanted[name]!r}: {_cure(name, replicas)}"
        for name in _OF_MEMBERS
        if config.get(name) != wanted[name]
    )
    return Applied(MEMBERS_STREAM, "unchanged", (), drift)


def _cure(setting: str, replicas: int) -> str:
    if setting == "num_replicas":
        return (
            f"nats stream edit {MEMBERS_STREAM} --replicas={replicas}, or change "
            "APP_STREAM_REPLICAS"
        )
    return (
        "the key of a release may not change it; with a key that may delete streams: nats stream "
        f"rm {MEMBERS_STREAM}, then apply again; members announce themselves again within seconds"
    )


async def _make(
    client: Client,
    stream: str,
    subjects: Sequence[str],
    making: Callable[[], Awaitable[object]],
) -> bool:
    """Make a stream; False if another release was faster and made it otherwise."""
    try:
        async with _told_who_holds(client, stream, subjects):
            await making()
    except JetStreamError as error:
        if error.error_code != _NAME_IN_USE:
            raise
        return False
    return True


@asynccontextmanager
async def _told_who_holds(
    client: Client, stream: str, subjects: Sequence[str]
) -> AsyncIterator[None]:
    try:
        yield
    except JetStreamError as error:
        held = [
            f"stream {name!r} holds {subject}"
            for subject in (subjects if error.error_code == _SUBJECTS_OVERLAP else ())
            for name in await streams_with_subject(client, subject)
            if name != stream
        ]
        if not held:
            raise
        raise SubjectsHeld(f"not in stream {stream!r}, since {', '.join(held)}") from error
