"""The replicas of a service, known to each other through the broker, and each one's lanes.

Announcements are kept in a stream, the last of each member, so that a newcomer hears of all at
once; after that they are heard as they are published, and a member silent for its own TTL is gone.
Nothing rests on the membership for safety: positions do that.

A group has one database. Each announcement names that of its member, and of two databases under one
name one is refused: its members neither read nor publish until those of the other are gone.
"""

import asyncio
from collections.abc import Callable, Iterable

import structlog
from nats.aio.msg import Msg

from chassis.events.jetstream.broker import Broker
from chassis.events.membership.announcement import Announcement
from chassis.events.membership.group import Group
from chassis.events.membership.members_stream import MembersStream
from chassis.events.membership.shares import Member, share_of_lanes
from chassis.events.wire import transport
from chassis.telemetry import metrics

__all__ = ["Members"]

_log = structlog.get_logger(__name__)


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
        self._types = frozenset(types)
        self._reads = reads
        self._group = Group()
        self._stream = MembersStream(service, makes=makes_stream, replicas=replicas)
        self._on_change: list[Callable[[], None]] = []
        self._leaving = False
        self.member = member
        self.version = version
        self.ttl_seconds = ttl_seconds
        self.lanes: frozenset[int] = frozenset()
        self.joined = asyncio.Event()
        self.barred = asyncio.Event()
        self.refused = ""
        broker.subscribe(self._subject("*"), self._hear)
        broker.on_connected(self._connected)

    @property
    def database(self) -> str | None:
        """The id of this member's database."""
        return self._group.database

    @database.setter
    def database(self, id: str | None) -> None:
        self._group.database = id

    @property
    def hindrance(self) -> str:
        """Why announcements are not kept; empty while they are."""
        return self._stream.hindrance

    @property
    def living(self) -> set[str]:
        """Ids of the members that are there, this one included."""
        return {self.member, *self._group.members}

    @property
    def known(self) -> bool:
        """Whether it is known who else runs: not while the broker is away."""
        return self.joined.is_set() and self._broker.connected.is_set()

    def versions_of(self, type: str) -> frozenset[str] | None:
        """The running versions that handle a type of events; None while that is not known: the
        broker is away, or a member does not say what it handles."""
        if not self.known:
            return None
        versions = {self.version} if type in self._types else set()
        for said in self._group.members.values():
            if said.types is None:
                return None
            if type in said.types:
                versions.add(said.version)
        return frozenset(versions)

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
                if gone := self._group.expire():
                    _log.info("members are gone; reassigning their lanes", members=gone)
                    self._recompute()
                # A broker that has just come up may not have been ready for it.
                await (self._announce() if self.joined.is_set() else self._join())
                if not self._stream.makes:
                    await self._stream.look(self._broker.client)
            except Exception as error:
                _log.warning("membership announcement failed; retrying", error=repr(error))

    async def leave(self) -> None:
        """Tell the others at once that this member is gone."""
        self._leaving = True
        if self._broker.client.is_connected and (self.joined.is_set() or self.barred.is_set()):
            headers = {"KV-Operation": "PURGE", "Nats-Rollup": "sub", "Nats-TTL": "1s"}
            await self._broker.client.publish(self._subject(), b"", headers=headers)
            await self._broker.client.flush(timeout=1)

    # --- joining --------------------------------------------------------------------------------

    async def _connected(self) -> None:
        self._group.listen()
        await self._join()

    async def _join(self) -> None:
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
            self._refuse(rival)
        else:
            await self._accept()

    async def _read_stream(self) -> None:
        client = self._broker.client
        await self._stream.open(client)
        await self._announce()
        async for id, said, age in self._stream.kept(client):
            if id != self.member:
                self._group.hear(id, said, age)

    async def _announce(self) -> None:
        said = Announcement(
            self.version,
            self.ttl_seconds,
            self.database,
            joined=self.joined.is_set(),
            reads=self._reads,
            types=self._types,
        )
        ttl = {"Nats-TTL": f"{self.ttl_seconds}s"}
        if not self._leaving:
            await self._broker.client.publish(self._subject(), said.to_json(), headers=ttl)

    async def _hear(self, message: Msg) -> None:
        id = message.subject.rpartition(".")[2]
        if id == self.member:
            return
        if message.headers and "KV-Operation" in message.headers:
            if self._group.forget(id):
                self._recompute()
            return
        said = Announcement.from_json(message.data)
        changed = said is not None and self._group.hear(id, said)
        if self.joined.is_set() and (rival := self._group.rival(joined=True)):
            self._refuse(rival)
        elif changed:
            self._recompute()

    def _recompute(self) -> None:
        members = {
            id: Member(said.version, said.weight)
            for id, said in self._group.members.items()
            if said.reads
        }
        if self._reads and not self.refused:
            members[self.member] = Member(self.version)
        owners = share_of_lanes(members)
        self.lanes = frozenset(lane for lane, id in owners.items() if id == self.member)
        for call in self._on_change:
            call()

    # --- one database ---------------------------------------------------------------------------

    def _refuse(self, rival: tuple[str, str]) -> None:
        database, id = rival
        refused = (
            f"another database has the events of {self._service}: {database}, of member {id}; this "
            f"one is {self.database}. Give all replicas of {self._service} one APP_DATABASE_URL, "
            "or rename one of the two services"
        )
        if refused != self.refused:
            _log.error("another database is in use; reading and publishing stopped", reason=refused)
        self.refused = refused
        self.joined.clear()
        self.barred.set()
        metrics.EVENT_DATABASE_REFUSED.set(1)
        self._recompute()

    async def _accept(self) -> None:
        if self.refused:
            _log.warning("members with the other database are gone; reading and publishing resumed")
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
