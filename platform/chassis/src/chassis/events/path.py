"""The event path of one process: what publishes, what handles, and what keeps both going."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from typing import Any

import structlog
from nats.aio.msg import Msg

from chassis.database import Database
from chassis.database.long_transactions import LongTransactions
from chassis.event_settings import EventSettings
from chassis.events import ledger
from chassis.events.consumer.foreign_reader import ForeignReader
from chassis.events.consumer.reader import Reader
from chassis.events.consuming import Consuming
from chassis.events.gauges import measure_for_ever
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
from chassis.events.waiting import end
from chassis.events.wire import transport
from chassis.ids import uuid7

__all__ = ["EventPath"]

_log = structlog.get_logger(__name__)


class EventPath:
    """Everything between a service's database and the broker.

    `on_fatal` is called when the process can never work as it is configured, and when a part of it
    has ended by an error.
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
        self._on_fatal = on_fatal
        self._long_transaction_seconds = settings.long_transaction_seconds
        self._tasks: list[asyncio.Task[None]] = []
        self._reading: list[asyncio.Task[None]] = []
        self._ending = False
        self.member = member or uuid7()
        self.held_up = HeldUp()
        self.broker = Broker(NatsOptions.of(nats_url, settings, service), service)
        self.members: Members | None = None
        self.producing: Producing | None = None
        self.consuming: Consuming | None = None
        subscribe_broadcasts(self.broker, broadcasts)
        if database is None:
            return
        self.broker.subscribe(transport.operator_subject(service), self._changed_by_operator)
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
        """What publishes; None in a service that publishes nothing."""
        return self.producing.relay if self.producing else None

    @property
    def readers(self) -> list[Reader]:
        """What reads the platform's own streams, one for each."""
        return self.consuming.readers if self.consuming else []

    @property
    def foreign_readers(self) -> list[ForeignReader]:
        """What reads the streams of producers outside the platform."""
        return self.consuming.foreign_readers if self.consuming else []

    async def start(self) -> None:
        """Start everything in the background; a broker that is away is waited for.

        Raises:
            WrongDatabase: the database belongs to another service.
            DatabaseDown, ConnectionLost: it cannot be asked.
        """
        if self._database and self.members:
            self.members.database = (await self._database.identify(self._service)).id
        self._spawn(self.broker.run())
        if self._database is not None:
            self._start_on(self._database)

    def _start_on(self, database: Database) -> None:
        if self.producing:
            for work in self.producing.start():
                self._spawn(work)
        if self.members:
            self._spawn(self.members.run())
        if self.consuming:
            for work in self.consuming.start():
                self._spawn(work)
            self._reading = [self._spawn(reader.run()) for reader in self.consuming.all_readers]
        for job in self._jobs:
            self._spawn(run_periodically(database, job))
        self._spawn(LongTransactions(database, self._long_transaction_seconds).run())
        self._spawn(measure_for_ever(database, self.readers, self.foreign_readers, self.held_up))

    async def let_go(self, seconds: float = 10) -> None:
        """Take no more: finish what is in hand within `seconds`, then let the lanes go."""
        self._ending = True
        if self.consuming:
            await self.consuming.let_go(self._reading, seconds)

    async def flush(self, seconds: float = 5) -> None:
        """Wait until the outbox is empty, for at most `seconds`; what stays is sent later."""
        if self.producing:
            await self.producing.flush(seconds)

    async def close(self) -> None:
        """Leave the group and close the connection to the broker."""
        self._ending = True
        if self.members:
            try:
                await self.members.leave()
            except Exception as error:
                _log.debug("leaving the group failed; other members notice later", error=str(error))
        await end(self._tasks)
        await self.broker.close()

    @property
    def refused(self) -> str:
        """Why this replica reads and publishes nothing; empty while it may."""
        return self.members.refused if self.members else ""

    def broker_connected(self) -> bool:
        """Whether the broker can be reached at the moment."""
        return self.broker.connected.is_set()

    def states(self) -> dict[str, str]:
        """The broker's state for readiness, and what hinders publishing or reading, if anything.

        A database that is refused is one that no request should reach.
        """
        states = {"database": self.refused} if self.refused else {}
        if not self.broker_connected():
            return {**states, "broker": "away"}
        states["broker"] = "ok"
        if self.producing and self.producing.hindrance:
            states["publishing"] = self.producing.hindrance
        if self.members and self.members.hindrance:
            states["members"] = self.members.hindrance
        if self.consuming and self.consuming.hindrance:
            states["reading"] = self.consuming.hindrance
        return states

    async def ledger(self) -> EventLedger:
        """What the event path of a service with a database still holds. Raises as ledger.count."""
        assert self._database is not None
        return await ledger.count(self._database, self.readers, self.foreign_readers)

    # --- inside ---------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Stop the process if a part fails: otherwise it would keep reporting that it is ready."""
        if self._ending:
            return
        error = RuntimeError("it was cancelled") if task.cancelled() else task.exception()
        if error is not None:
            # First of all: what is logged about it may fail as well.
            self._on_fatal(error if isinstance(error, Exception) else RuntimeError(repr(error)))
            _log.error("part of the event path failed; stopping the service", exc_info=error)

    async def _changed_by_operator(self, message: Msg) -> None:
        """Look at once, and say whose doing it is: an operator's own log may be read by nobody."""
        change = OperatorChange.from_json(message.data)
        if change is None:
            return
        change.log()
        if self.producing:
            self.producing.relay.wake()
        if self.consuming:
            self.consuming.look_again()
