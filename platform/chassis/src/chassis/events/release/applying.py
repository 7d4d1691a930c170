"""Creates the streams that a service needs: the work of `broker apply`, which a release runs.

Nothing is deleted, and no setting changed that an operator may have chosen: streams are created,
subjects added, and settings turned on that the event path requires. Other differences are reported.
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
from chassis.events.jetstream.api import SUBJECTS_OVERLAP, JetStreamError, StreamGone, api_request
from chassis.events.jetstream.owned_stream import create_stream, extend_stream, look_at_stream
from chassis.events.jetstream.streams import stream_state, streams_with_subject
from chassis.events.membership.members_stream import members_config
from chassis.events.wire.contracts import subjects_of
from chassis.events.wire.control_subjects import MEMBERS_STREAM

__all__ = ["Applied", "OutboxSummary", "SubjectsHeld", "apply_members_stream", "apply_own_stream"]

_NAME_IN_USE = 10058
# The broker has no compare-and-set for a stream's configuration: a concurrent release that has read
# it before this one extends it, and writes after that, removes what this one has added. So the
# stream is read again after a time in which others have written, until it lacks nothing.
_OTHERS_WRITE_SECONDS = (0.5, 1.0)
_MAX_LOOKS = 10
_REQUIRED_SETTINGS = ("allow_batched", "allow_direct")
_MEMBERS_SETTINGS = (
    "subjects",
    "max_msgs_per_subject",
    "storage",
    "allow_rollup_hdrs",
    "allow_direct",
    "allow_msg_ttl",
    "num_replicas",
)


class SubjectsHeld(Exception):
    """Another stream has the subjects; the text names it."""


@dataclass(frozen=True, slots=True)
class OutboxSummary:
    """The part of a service's database that its stream depends on.

    `sent_rank` is the rank up to which events were sent, `types` those that the outbox has ever
    held. A database that has `no_tables` yet has sent none.
    """

    sent_rank: int
    types: frozenset[str]
    no_tables: bool = False


@dataclass(frozen=True, slots=True)
class Applied:
    """The change of one stream, made or only proposed.

    `what` names the subjects and settings that were added; `drift` has a line for each setting that
    differs and is left as it is.
    """

    stream: str
    done: Literal["made", "extended", "unchanged"]
    what: tuple[str, ...] = ()
    drift: tuple[str, ...] = ()


async def apply_own_stream(
    client: Client,
    stream: str,
    types: Sequence[str],
    settings: EventSettings,
    outbox: OutboxSummary | None,
    *,
    change: bool = True,
) -> Applied:
    """Create the service's stream, or add what it lacks; without `change` only report that.

    `outbox` is None if no database can be read. A stream that is created then does not tell up to
    which rank events had been sent before.

    Raises:
        LaneCountChanged: the stream has another number of lanes.
        SubjectsHeld: another stream has some of its subjects.
        JetStreamError, TimeoutError, nats.errors.Error: the broker refused, or did not answer.
    """
    all_types = sorted({*types, *(outbox.types if outbox else ())})
    subjects = tuple(map(subjects_of, all_types))
    rank = outbox.sent_rank if outbox else None
    added: dict[str, None] = {}
    for _ in range(_MAX_LOOKS):
        try:
            owned = await look_at_stream(client, stream, all_types, settings)
        except StreamGone:
            create = partial(create_stream, client, stream, all_types, settings, rank)
            if not change or await _create(client, stream, subjects, create):
                return Applied(stream, "made", subjects)
            continue
        off = tuple(name for name in _REQUIRED_SETTINGS if not owned.state.config.get(name))
        lacks = (*owned.lacks, *off)
        if change and lacks:
            async with _naming_holders(client, stream, owned.lacks):
                await extend_stream(client, stream, owned, **dict.fromkeys(off, True))
            added |= dict.fromkeys(lacks)
            await asyncio.sleep(random.uniform(*_OTHERS_WRITE_SECONDS))
            continue
        what = tuple(added) or lacks
        drift = tuple(line for line in owned.drift if not line.startswith(_REQUIRED_SETTINGS))
        return Applied(stream, "extended" if what else "unchanged", what, drift)
    raise JetStreamError(
        503,
        0,
        f"stream {stream!r} still lacks {', '.join(added)} after {_MAX_LOOKS} tries: "
        "another client removes them, or the broker is too old for them",
    )


async def apply_members_stream(client: Client, replicas: int, *, change: bool = True) -> Applied:
    """Create the stream in which members announce themselves, if it is missing.

    Raises:
        SubjectsHeld: another stream has some of its subjects.
        JetStreamError, TimeoutError, nats.errors.Error: the broker refused, or did not answer.
    """
    wanted = members_config(replicas)
    subjects = tuple(wanted["subjects"])
    try:
        config = (await stream_state(client, MEMBERS_STREAM)).config
    except StreamGone:
        create = partial(api_request, client, f"STREAM.CREATE.{MEMBERS_STREAM}", wanted)
        if not change or await _create(client, MEMBERS_STREAM, subjects, create):
            return Applied(MEMBERS_STREAM, "made", subjects)
        config = (await stream_state(client, MEMBERS_STREAM)).config
    drift = tuple(
        f"{name} {config.get(name)!r}, wanted {wanted[name]!r}: {_advise(name, replicas)}"
        for name in _MEMBERS_SETTINGS
        if config.get(name) != wanted[name]
    )
    return Applied(MEMBERS_STREAM, "unchanged", (), drift)


def _advise(setting: str, replicas: int) -> str:
    """Return what an operator can do about a setting of the members' stream."""
    if setting == "num_replicas":
        return (
            f"nats stream edit {MEMBERS_STREAM} --replicas={replicas}, or change "
            "APP_STREAM_REPLICAS"
        )
    return (
        "the key of a release may not change it; with a key that may delete streams: nats stream "
        f"rm {MEMBERS_STREAM}, then apply again; members announce themselves again within seconds"
    )


async def _create(
    client: Client,
    stream: str,
    subjects: Sequence[str],
    create: Callable[[], Awaitable[object]],
) -> bool:
    """Create a stream; return False if another release has created it with other settings."""
    try:
        async with _naming_holders(client, stream, subjects):
            await create()
    except JetStreamError as error:
        if error.error_code != _NAME_IN_USE:
            raise
        return False
    return True


@asynccontextmanager
async def _naming_holders(
    client: Client, stream: str, subjects: Sequence[str]
) -> AsyncIterator[None]:
    """Raise SubjectsHeld, with the other streams, if the block fails because of their subjects."""
    try:
        yield
    except JetStreamError as error:
        held = [
            f"stream {name!r} holds {subject}"
            for subject in (subjects if error.error_code == SUBJECTS_OVERLAP else ())
            for name in await streams_with_subject(client, subject)
            if name != stream
        ]
        if not held:
            raise
        raise SubjectsHeld(f"not in stream {stream!r}, since {', '.join(held)}") from error
