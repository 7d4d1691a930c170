"""The replicas of a service, known to each other through the broker, and each one's lanes.

Announcements are kept in a stream, the last of each member, so that a newcomer hears of all at
once; after that they are heard as they are published, and a member silent for its own TTL is gone.
Nothing rests on the membership for safety: positions do that.

A group has one database. Each announcement names that of its member, and of two databases under one
name one is refused: its members neither read nor publish until those of the other are gone.
"""

import asyncio
import json
import math
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from chassis.events.jetstream.broker import Broker
from chassis.events.jetstream.streams import (
    JetStreamError,
    StreamGone,
    api,
    last_messages,
    stream_state,
)
from chassis.events.membership.shares import Member, share_of_lanes
from chassis.events.wire import transport
from chassis.telemetry import metrics

__all__ = ["Members", "RunningMember", "members_config", "running_members"]

_log = structlog.get_logger(__name__)
_STREAM = transport.MEMBERS_STREAM


@dataclass(slots=True)
class _Seen:
    """Another member; when it was last heard of (monotonic seconds), and how long that holds."""

    member: Member
    heard: float
    ttl_seconds: float
    database: str | None
    joined: bool
    reads: bool
    types: frozenset[str] | None


class Members:
    """Announces this member and computes which lanes are its own.

    `reads` is whether it takes lanes at all; who only publishes takes none. `database` is the
    database's id, to be set before `run`. `joined` is set while this member may read and publish,
    `barred` while it may not for another database's sake, and `refused` says why. Without
    `makes_stream` the stream of members is only looked for; `hindrance` says that it is missing.
    """

    def __init__(
        self,
        broker: Broker,
        *,
        service: str,
        member: str,
        version: str,
        ttl_seconds: int,
        replicas: int = 1,
        reads: bool = True,
        types: Iterable[str] = (),
        makes_stream: bool = True,
    ) -> None:
        self._broker = broker
        self._service = service
        self._makes_stream = makes_stream
        self.member = member
        self.version = version
        self._types = frozenset(types)
        self.ttl_seconds = ttl_seconds
        self._replicas = replicas
        self._reads = reads
        self._seen: dict[str, _Seen] = {}
        self._strangers: set[str] = set()
        self.database: str | None = None
        self.lanes: frozenset[int] = frozenset()
        self.joined = asyncio.Event()
        self.barred = asyncio.Event()
        self.refused = ""
        self.hindrance = ""
        self._on_change: list[Callable[[], None]] = []
        self._leaving = False
        self._listening_since = 0.0
        broker.subscribe(self._subject("*"), self._hear)
        broker.on_connected(self._connected)

    @property
    def living(self) -> set[str]:
        """Ids of the members that are there, this one included."""
        return {self.member, *(id for id, seen in self._seen.items() if not self._foreign(seen))}

    @property
    def known(self) -> bool:
        """Whether it is known who else runs: not while the broker is away."""
        return self.joined.is_set() and self._broker.connected.is_set()

    def versions_of(self, type: str) -> frozenset[str] | None:
        """The running versions that handle a type of events; None while that is not known: the
        broker is away, or a member does not say what it handles."""
        if not self.known:
            return None
        members = [seen for seen in self._seen.values() if not self._foreign(seen)]
        if any(seen.types is None for seen in members):
            return None
        others = {seen.member.version for seen in members if type in (seen.types or ())}
        return frozenset(others | ({self.version} if type in self._types else set()))

    def on_change(self, call: Callable[[], None]) -> None:
        """Call whenever the lanes of this member, or the membership, have changed."""
        self._on_change.append(call)

    async def run(self) -> None:
        """Announce this member and notice who has fallen silent, until cancelled."""
        while True:
            await asyncio.sleep(self.ttl_seconds / 3)
            if not self._broker.connected.is_set():
                continue
            try:
                self._expire()
                # A broker that has just come up may not have been ready for it.
                await (self._announce() if self.joined.is_set() else self._join())
                if not self._makes_stream:
                    await self._look_for_stream()
            except Exception as error:
                _log.warning("not heard by the other members", error=repr(error))

    async def leave(self) -> None:
        """Tell the others at once that this member is gone."""
        self._leaving = True
        if self._broker.client.is_connected and (self.joined.is_set() or self.barred.is_set()):
            headers = {"KV-Operation": "PURGE", "Nats-Rollup": "sub", "Nats-TTL": "1s"}
            await self._broker.client.publish(self._subject(), b"", headers=headers)
            await self._broker.client.flush(timeout=1)

    async def _connected(self) -> None:
        # Nobody could be heard while the broker was away: all are believed for one TTL more.
        self._listening_since = time.monotonic()
        await self._join()

    async def _join(self) -> None:
        try:
            await self._read_stream()
        except Exception as error:
            # Who has listened for so long has heard all of them.
            if time.monotonic() - self._listening_since < self.ttl_seconds:
                raise
            _log.warning(
                "joining by announcements heard: the stream of members cannot be read",
                error=repr(error),
            )
            await self._announce()
        if rival := self._rival():
            self._refuse(rival)
        else:
            await self._accept()

    async def _read_stream(self) -> None:
        client = self._broker.client
        if self._makes_stream:
            await _ensure_stream(client, self._replicas)
        elif not await self._look_for_stream():
            raise LookupError(self.hindrance)
        await self._announce()
        async for stored in last_messages(client, _STREAM, [self._subject("*")]):
            if "KV-Operation" in stored.headers or "Nats-Marker-Reason" in stored.headers:
                continue
            if transport.COPIED_FROM in stored.headers:
                continue
            self._note(stored.subject, stored.data, _age(stored.headers.get("Nats-Time-Stamp")))

    async def _look_for_stream(self) -> bool:
        """Whether the stream of members is there; that it is missing is said once."""
        try:
            await stream_state(self._broker.client, _STREAM)
        except StreamGone:
            missing = transport.missing_stream(_STREAM, self._service)
            if missing != self.hindrance:
                _log.error("announcements are not kept", reason=missing)
            self.hindrance = missing
            return False
        if self.hindrance:
            _log.info("announcements are kept again", stream=_STREAM)
        self.hindrance = ""
        return True

    async def _announce(self) -> None:
        said = {
            "version": self.version,
            "ttl": self.ttl_seconds,
            "database": self.database,
            "joined": self.joined.is_set(),
            "reads": self._reads,
            "types": sorted(self._types),
        }
        body = json.dumps(said).encode()
        ttl = {"Nats-TTL": f"{self.ttl_seconds}s"}
        if not self._leaving:
            await self._broker.client.publish(self._subject(), body, headers=ttl)

    async def _hear(self, message: Msg) -> None:
        id = message.subject.rpartition(".")[2]
        if id == self.member:
            return
        if message.headers and "KV-Operation" in message.headers:
            if self._seen.pop(id, None):
                self._recompute()
            return
        before = self._seen.get(id)
        self._note(message.subject, message.data, 0)
        seen = self._seen.get(id)
        if self.joined.is_set() and (rival := self._rival()):
            self._refuse(rival)
        elif seen and (before is None or before.database != seen.database):
            self._recompute()

    def _note(self, subject: str, data: bytes, age: float) -> None:
        id = subject.rpartition(".")[2]
        try:
            said = json.loads(data)
            member, ttl = Member(str(said["version"]), _weight(said)), float(said["ttl"])
            database = said.get("database") and str(UUID(said["database"]))
        except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError):
            return
        if age < ttl < math.inf and id != self.member:
            heard = time.monotonic() - age
            joined, reads = said.get("joined") is not False, said.get("reads") is not False
            self._seen[id] = _Seen(member, heard, ttl, database, joined, reads, _types(said))

    def _expire(self) -> None:
        now = time.monotonic()
        since = self._listening_since
        gone = [
            id for id, seen in self._seen.items() if max(seen.heard, since) + seen.ttl_seconds < now
        ]
        for id in gone:
            del self._seen[id]
        if gone:
            _log.info("members are gone", members=gone)
            self._recompute()

    def _recompute(self) -> None:
        members = {
            id: seen.member
            for id, seen in self._seen.items()
            if seen.reads and not self._foreign(seen)
        }
        if self._reads and not self.refused:
            members[self.member] = Member(self.version)
        owners = share_of_lanes(members)
        self.lanes = frozenset(lane for lane, id in owners.items() if id == self.member)
        for call in self._on_change:
            call()

    # --- one database ---------------------------------------------------------------------------

    def _foreign(self, seen: _Seen) -> bool:
        """Whether it has another database. Older versions do not say which they have."""
        return None not in (self.database, seen.database) and seen.database != self.database

    def _rival(self) -> tuple[str, str] | None:
        """Another living database that goes first, and one of its members.

        Who has joined goes before who has not, so that a newcomer's mistake stops no group that
        works. Of those who joined at once the database that was made first goes first.
        """
        others = {id: seen for id, seen in self._seen.items() if self._foreign(seen)}
        for id in others.keys() - self._strangers:
            _log.warning("a member has another database", member=id, database=others[id].database)
        self._strangers = set(others)
        mine = (not self.joined.is_set(), str(self.database), "")
        first = min(
            ((not seen.joined, str(seen.database), id) for id, seen in others.items()),
            default=mine,
        )
        return first[1:] if first < mine else None

    def _refuse(self, rival: tuple[str, str]) -> None:
        database, id = rival
        refused = (
            f"another database has the events of {self._service}: {database}, of member {id}; this "
            f"one is {self.database}. Give all replicas of {self._service} one APP_DATABASE_URL, "
            "or rename one of the two services"
        )
        if refused != self.refused:
            _log.error("reading and publishing nothing", reason=refused)
        self.refused = refused
        self.joined.clear()
        self.barred.set()
        metrics.EVENT_DATABASE_REFUSED.set(1)
        self._recompute()

    async def _accept(self) -> None:
        if self.refused:
            _log.warning("the other database's members are gone: reading and publishing again")
        first = not self.joined.is_set()
        self.refused = ""
        self.barred.clear()
        self.joined.set()
        metrics.EVENT_DATABASE_REFUSED.set(0)
        self._recompute()
        if first and self.database:
            await self._announce()  # that it has joined

    def _subject(self, member: str | None = None) -> str:
        return transport.members_subject(self._service, member or self.member)


@dataclass(frozen=True, slots=True)
class RunningMember:
    """A replica as its last announcement tells of it; `types` is None if that does not say."""

    member: str
    version: str
    types: frozenset[str] | None


async def running_members(client: Client, service: str) -> list[RunningMember]:
    """The replicas of a service that run, as somebody sees them who is none of them.

    Raises:
        JetStreamError, nats.errors.Error: it cannot be told.
    """
    found = []
    try:
        async for stored in last_messages(
            client, _STREAM, [transport.members_subject(service, "*")]
        ):
            said = json.loads(stored.data) if stored.data else {}
            if _age(stored.headers.get("Nats-Time-Stamp")) < float(said.get("ttl", 0)):
                id = stored.subject.rpartition(".")[2]
                found.append(RunningMember(id, str(said.get("version")), _types(said)))
    except StreamGone:  # nobody has ever run
        pass
    return found


def _types(said: dict[str, Any]) -> frozenset[str] | None:
    """The types that a member handles; None if it does not say."""
    types = said.get("types")
    return frozenset(map(str, types)) if isinstance(types, list) else None


def _weight(said: dict[str, Any]) -> int | None:
    weight = said.get("weight")
    if weight is None or (type(weight) is int and 0 <= weight <= 100):
        return weight
    raise ValueError(f"no weight: {weight!r}")


def _age(stamp: str | None) -> float:
    """Seconds since the server stored a message. Needs clocks that agree within a TTL."""
    if not stamp:
        return 0
    # Nanoseconds are more than Python reads.
    seconds, _, rest = stamp.partition(".")
    fraction = rest.rstrip("Z")[:6] or "0"
    when = datetime.fromisoformat(f"{seconds.rstrip('Z')}.{fraction:0<6}+00:00")
    return max(0.0, time.time() - when.timestamp())


async def _ensure_stream(client: Client, replicas: int) -> None:
    try:
        await stream_state(client, _STREAM)
        return
    except StreamGone:
        pass
    try:
        await api(client, f"STREAM.CREATE.{_STREAM}", members_config(replicas))
    except JetStreamError:
        await stream_state(client, _STREAM)  # somebody else was faster


def members_config(replicas: int) -> dict[str, Any]:
    """The stream that keeps the last announcement of each member (as ADR-8 does), with a TTL each
    (ADR-43). On the disk, so that a server that is started again has it."""
    return {
        "name": _STREAM,
        "subjects": [transport.MEMBERS_SUBJECTS],
        "max_msgs_per_subject": 1,
        "storage": "file",
        "discard": "new",
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "allow_msg_ttl": True,
        "subject_delete_marker_ttl": 1_000_000_000,
        "deny_delete": True,
        "num_replicas": replicas,
    }
