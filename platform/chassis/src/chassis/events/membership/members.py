"""The replicas of a service, known to each other through the broker, and the lanes of each.

A stream keeps the last announcement of each member, so that a new member knows all others at once.
After that, announcements are received as they are published, and a member that is silent for its
own TTL is gone. Safety does not depend on the membership: positions ensure it.

A group has one database. Each announcement names that of its member. If there are two databases
under one name, one is refused: its members neither read nor publish until those of the other are
gone.
"""

import asyncio
from collections.abc import Callable, Iterable
from pathlib import Path

import structlog
from nats.aio.msg import Msg

from chassis.events.jetstream.broker import Broker
from chassis.events.membership.admittance import Admittance
from chassis.events.membership.announcement import Announcement
from chassis.events.membership.announcer import Announcer
from chassis.events.membership.canaries import Canaries
from chassis.events.membership.group import Group
from chassis.events.membership.members_stream import MembersStream
from chassis.events.membership.shares import Member, need_no_others, share_of_lanes
from chassis.events.membership.unowned import UnownedLanes
from chassis.events.membership.weight_file import WeightFile
from chassis.events.wire.control_subjects import members_subject
from chassis.events.wire.lanes import LANES

__all__ = ["Members"]

_log = structlog.get_logger(__name__)
_UNOWNED_SECONDS = 30.0
"""The time in which a version that is started or stopped has come or gone."""

_Known = tuple[int, int | None, str, bool, bool]


class Members:
    """Announces this member and computes its lanes.

    A member that does not read (`reads`) has no lanes; `types` are the event types that it handles.
    Without `makes_stream` a release must create the stream of members. `weight_file` holds the
    weight of this version, if it has one. `database`, the id of this member's database, must be
    set before `run`.

    Attributes:
        lanes: The lanes that this member owns.
        joined: Set while this member may read and publish.
        barred: Set while it may not because members with another database do.
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
        weight_file: Path | None = None,
    ) -> None:
        self._broker = broker
        self._types = frozenset(types)
        self._reads = reads
        self._group = Group()
        self._stream = MembersStream(service, makes=makes_stream, replicas=replicas)
        self._admittance = Admittance(service)
        self._weight = WeightFile(weight_file)
        # Tasks run before the broker is available.
        self._weight.read()
        self._unowned = UnownedLanes(_UNOWNED_SECONDS)
        self._canaries_of: tuple[_Known, Canaries] | None = None
        self._on_change: list[Callable[[], None]] = []
        self.member = member
        self.version = version
        self.ttl_seconds = ttl_seconds
        self.lanes: frozenset[int] = frozenset()
        self.joined = self._admittance.joined
        self.barred = self._admittance.barred
        self.announcer = Announcer(
            broker,
            members_subject(service, member),
            version=version,
            ttl_seconds=ttl_seconds,
            reads=reads,
            types=self._types,
        )
        broker.subscribe(members_subject(service, "*"), self._on_announcement)
        broker.on_connected(self._on_connected)

    @property
    def database(self) -> str | None:
        """The id of this member's database."""
        return self._group.database

    @database.setter
    def database(self, id: str | None) -> None:
        self._group.database = id

    @property
    def refused(self) -> str:
        """Why this member may neither read nor publish; empty while it may."""
        return self._admittance.refused

    @property
    def hindrance(self) -> str:
        """Why announcements are not kept; empty while they are."""
        return self._stream.hindrance

    @property
    def living(self) -> set[str]:
        """The ids of the members that run, this one included."""
        return {self.member, *self._group.members}

    @property
    def others_known(self) -> bool:
        """Whether the other members are known, which they are not without the broker."""
        return self.joined.is_set() and self._broker.connected.is_set()

    def versions_of(self, type: str) -> frozenset[str] | None:
        """Return the running versions that run the tasks of an event type that are not a canary's.

        They have no weight. If there are no canaries, they are those with a weight above 0. The
        result is None while that is unknown: the broker is unavailable, a member does not announce
        what it handles, or only canaries run and the versions without a weight may come back.
        """
        if not self.others_known:
            return None
        canaries = self._no_canaries
        if not canaries and all(m.weight is not None for m in self._reading.values()):
            return None
        others = self._group.versions_of(type, canaries=canaries)
        weight = self._weight.weight
        runs = type in self._types and (weight if canaries else weight is None)
        return others | {self.version} if runs and others is not None else others

    def canaries(self) -> Canaries:
        """Return what is known about the versions with a weight. Call on the event loop.

        They are canaries of the versions without one. If there are none of these, and the weights
        leave no lane to them, the versions with a weight share all tasks, as they share all lanes.
        Each commit asks, so that the answer is kept while nothing changes on which it depends.
        """
        known = (
            self._group.changes,
            self._weight.weight,
            self.refused,
            self.joined.is_set(),
            self._broker.connected.is_set(),
        )
        if self._canaries_of is None or self._canaries_of[0] != known:
            self._canaries_of = known, self._find_canaries()
        return self._canaries_of[1]

    def _find_canaries(self) -> Canaries:
        weight = self._weight.weight
        no_canaries = self.joined.is_set() and self._no_canaries
        own = "" if weight is None or no_canaries else self.version
        running = self._group.canaries | ({self.version} if weight else set())
        if not self.others_known:
            return Canaries(own, takes_events=weight != 0, running=None)
        return Canaries(own, weight != 0, frozenset() if no_canaries else running)

    @property
    def is_canary(self) -> bool:
        """Whether this version is a canary of a version without a weight."""
        return bool(self.canaries().own)

    @property
    def _no_canaries(self) -> bool:
        """Whether only versions with a weight run, and share everything."""
        return need_no_others(self._reading.values())

    @property
    def _reading(self) -> dict[str, Member]:
        """The members that may have lanes, this one included."""
        members = {
            id: Member(member.version, member.weight)
            for id, member in self._group.members.items()
            if member.reads
        }
        if self._reads and not self.refused:
            members[self.member] = Member(self.version, self._weight.weight)
        return members

    def on_change(self, call: Callable[[], None]) -> None:
        """Call whenever the members, and perhaps the lanes of this one, have changed."""
        self._on_change.append(call)

    async def run(self) -> None:
        """Announce this member and notice those that are silent, until cancelled."""
        while True:
            await asyncio.sleep(self.ttl_seconds / 3)
            if not self._broker.connected.is_set():
                self._follow_weight()
                continue
            self._unowned.look()
            try:
                if gone := self._group.expire():
                    _log.info("members are gone; reassigning their lanes", members=gone)
                    self._recompute()
                # A member that could not join when the broker connected tries again.
                await (self._announce() if self.joined.is_set() else self._join())
                if not self._stream.makes:
                    await self._stream.check(self._broker.client)
            except Exception as error:
                _log.warning("membership announcement failed; retrying", error=repr(error))

    async def leave(self) -> None:
        """Tell the other members at once that this one is gone."""
        self.announcer.stop()
        if self._broker.client.is_connected and (self.joined.is_set() or self.barred.is_set()):
            await self.announcer.say_goodbye()

    async def _on_connected(self) -> None:
        """Join again after each connection: the members may have changed in the meantime."""
        self._group.listen()
        await self._join()

    async def _join(self) -> None:
        """Learn of all members, and join unless another database takes precedence."""
        try:
            await self._read_stream()
        except Exception as error:
            # After one TTL every live member has announced itself.
            if not self._group.has_listened(self.ttl_seconds):
                raise
            _log.warning(
                "stream of members cannot be read; joining by the announcements received",
                error=repr(error),
            )
            await self._announce()
        if rival := self._group.rival(joined=self.joined.is_set()):
            self._bar(rival)
        else:
            await self._admit()

    async def _read_stream(self) -> None:
        """Announce this member, then note the last announcement of every other one."""
        client = self._broker.client
        await self._stream.open(client)
        await self._announce()
        async for id, announcement, age in self._stream.announcements(client):
            if id != self.member:
                self._group.note(id, announcement, age)

    async def _announce(self) -> None:
        """Publish what this member is at the moment, and follow a changed weight."""
        self._follow_weight()
        await self.announcer.announce(
            self.database, joined=self.joined.is_set(), weight=self._weight.weight
        )

    def _follow_weight(self) -> None:
        """Read the weight, and change the lanes with it."""
        if self._weight.read() and self.joined.is_set():
            self._recompute()

    async def _on_announcement(self, message: Msg) -> None:
        """Note an announcement, or that a member has left."""
        id = message.subject.rpartition(".")[2]
        if id == self.member:
            return
        if message.headers and "KV-Operation" in message.headers:
            if self._group.forget(id):
                self._recompute()
            return
        announcement = Announcement.from_json(message.data)
        changed = announcement is not None and self._group.note(id, announcement)
        if self.joined.is_set() and (rival := self._group.rival(joined=True)):
            self._bar(rival)
        elif changed:
            self._recompute()

    def _recompute(self) -> None:
        """Compute this member's lanes from the members that are known, and call `on_change`."""
        owners = share_of_lanes(self._reading)
        self._unowned.note(LANES - len(owners) if self._reads else 0)
        self.lanes = frozenset(lane for lane, id in owners.items() if id == self.member)
        for call in self._on_change:
            call()

    def _bar(self, rival: tuple[str, str]) -> None:
        """Stop reading and publishing because of another database."""
        self._admittance.bar(self.database, rival)
        self._recompute()

    async def _admit(self) -> None:
        """Allow this member to read and publish, since no other database takes precedence."""
        newly_admitted = self._admittance.admit()
        self._recompute()
        if newly_admitted and self.database:
            # Earlier announcements say that this member has not joined.
            await self._announce()
