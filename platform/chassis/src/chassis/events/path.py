"""The event path of one process: its connection to the broker, publishing, and handling."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog
from nats.aio.msg import Msg

from chassis.database import Database
from chassis.database.long_transactions import LongTransactions
from chassis.event_settings import EventSettings
from chassis.events import ledger
from chassis.events.background import BackgroundTasks
from chassis.events.consumer.foreign_reader import ForeignReader
from chassis.events.consumer.reader import Reader
from chassis.events.consuming import Consuming
from chassis.events.gauges import measure_continuously
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.broadcast import subscribe_broadcasts
from chassis.events.held_up import HeldUp
from chassis.events.jetstream.broker import Broker
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.jobs import PeriodicJob, run_periodically
from chassis.events.ledger import EventLedger
from chassis.events.membership.members import Members
from chassis.events.operator_changes import OperatorChange
from chassis.events.producer.relay import Relay
from chassis.events.producing import Producing
from chassis.events.wire import control_subjects
from chassis.ids import uuid7

__all__ = ["EventPath"]

_log = structlog.get_logger(__name__)


class EventPath:
    """Everything between a service's database and the broker.

    `on_fatal` is called when the process can never work as it is configured, and when a background
    task fails.
    """

    def __init__(
        self,
        *,
        service: str,
        version: str,
        nats_url: str,
        settings: EventSettings,
        database: Database | None,
        handlers: Mapping[str, Handler],
        broadcasts: Mapping[str, list[Handler]],
        publishes: Sequence[str],
        jobs: Sequence[PeriodicJob] = (),
        on_fatal: Callable[[Exception], None] = lambda _error: None,
        member: str | None = None,
    ) -> None:
        self._service = service
        self._database = database
        self._jobs = jobs
        self._long_transaction_seconds = settings.long_transaction_seconds
        self._background = BackgroundTasks(on_fatal)
        self._reading: list[asyncio.Task[None]] = []
        self.member = member or uuid7()
        self.held_up = HeldUp()
        self.broker = Broker(NatsOptions.of(nats_url, settings, service), service)
        self.members: Members | None = None
        self.producing: Producing | None = None
        self.consuming: Consuming | None = None
        subscribe_broadcasts(self.broker, broadcasts)
        if database is None:
            return
        self.broker.subscribe(control_subjects.operator_subject(service), self._on_operator_change)
        if not (handlers or publishes):
            return
        self.members = Members(
            self.broker,
            service=service,
            member=self.member,
            version=version,
            ttl_seconds=settings.member_ttl_seconds,
            replicas=settings.stream_replicas,
            reads=bool(handlers),
            types=handlers,
            makes_stream=settings.makes_streams,
            weight_file=settings.event_weight_file,
        )
        if publishes:
            self.producing = Producing(
                service,
                publishes,
                database=database,
                broker=self.broker,
                members=self.members,
                nats_url=nats_url,
                settings=settings,
                on_fatal=on_fatal,
            )
        if handlers:
            self.consuming = Consuming(
                handlers,
                database=database,
                broker=self.broker,
                members=self.members,
                settings=settings,
            )
            self.held_up.pauses = self.consuming.pauses

    @property
    def relay(self) -> Relay | None:
        """The relay; None in a service that publishes nothing."""
        return self.producing.relay if self.producing else None

    @property
    def readers(self) -> list[Reader]:
        """The readers of the platform's own streams, one for each stream."""
        return self.consuming.readers if self.consuming else []

    @property
    def foreign_readers(self) -> list[ForeignReader]:
        """The readers of streams of producers outside the platform."""
        return self.consuming.foreign_readers if self.consuming else []

    async def start(self) -> None:
        """Start everything in the background, whether or not the broker is available.

        Raises:
            WrongDatabase: the database belongs to another service.
            DatabaseDown, ConnectionLost: the database is unavailable.
        """
        if self._database and self.members:
            self.members.database = (await self._database.identify(self._service)).id
        self._background.start(self.broker.run())
        if self._database is not None:
            self._start_on(self._database)

    def _start_on(self, database: Database) -> None:
        """Start everything that needs the database."""
        start = self._background.start
        if self.producing:
            for work in self.producing.start():
                start(work)
        if self.members:
            start(self.members.run())
        if self.consuming:
            for work in self.consuming.background_work():
                start(work)
            self._reading = [start(reader.run()) for reader in self.consuming.all_readers]
        for job in self._jobs:
            start(run_periodically(database, job, is_canary=self._is_canary))
        start(LongTransactions(database, self._long_transaction_seconds).run())
        start(measure_continuously(database, self.readers, self.foreign_readers, self.held_up))

    def _is_canary(self) -> bool:
        """Return whether this version is a canary, which one that takes no events cannot be."""
        return self.members is not None and self.members.is_canary

    async def stop_handling(self, seconds: float = 10) -> None:
        """Take no more events, finish what is running within `seconds`, then release the lanes."""
        self._background.expect_end()
        if self.consuming:
            await self.consuming.stop(self._reading, seconds)

    async def flush(self, seconds: float = 5) -> None:
        """Wait for at most `seconds` until the outbox is empty; what remains is sent later."""
        if self.producing:
            await self.producing.flush(seconds)

    async def close(self) -> None:
        """Leave the group of members, end all tasks, and close the connection to the broker."""
        self._background.expect_end()
        if self.members:
            try:
                await self.members.leave()
            except Exception as error:
                _log.debug("leaving the group failed; other members notice later", error=str(error))
        await self._background.end()
        await self.broker.close()

    @property
    def refused(self) -> str:
        """Why this replica reads and publishes nothing; empty while it may."""
        return self.members.refused if self.members else ""

    def broker_connected(self) -> bool:
        """Return whether the broker is connected."""
        return self.broker.connected.is_set()

    def states(self) -> dict[str, str]:
        """Return the state of the broker and what hinders publishing or reading, for readiness.

        "database" is contained if another database belongs to this service: no request should
        reach this replica then.
        """
        states = {"database": self.refused} if self.refused else {}
        if not self.broker_connected():
            return {**states, "broker": "unavailable"}
        states["broker"] = "ok"
        if self.producing and self.producing.hindrance:
            states["publishing"] = self.producing.hindrance
        if self.members and self.members.hindrance:
            states["members"] = self.members.hindrance
        if self.consuming and self.consuming.hindrance:
            states["reading"] = self.consuming.hindrance
        return states

    async def ledger(self) -> EventLedger:
        """Count the events that are not done yet, in a service with a database.

        Raises as `ledger.count`.
        """
        assert self._database is not None
        return await ledger.count(self._database, self.readers, self.foreign_readers)

    async def _on_operator_change(self, message: Msg) -> None:
        """Apply an operator's change at once, and log it here, where logs are collected."""
        change = OperatorChange.from_json(message.data)
        if change is None:
            return
        change.log()
        if self.producing:
            self.producing.relay.wake()
        if self.consuming:
            self.consuming.refresh()
