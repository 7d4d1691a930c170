"""The event path of one process: outbox and relay, readers, tasks, membership, jobs."""

import asyncio
import contextlib
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import structlog
from nats.aio.msg import Msg

from chassis.database import Database
from chassis.database.long_transactions import LongTransactions
from chassis.event_settings import EventSettings
from chassis.events.cleanup import Cleanup
from chassis.events.consumer.foreign_reader import ForeignReader
from chassis.events.consumer.reader import Reader
from chassis.events.gauges import measure_for_ever
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.broadcast import subscribe_broadcasts
from chassis.events.handlers.pauses import Pauses
from chassis.events.handlers.router import Foreign
from chassis.events.held_up import HeldUp
from chassis.events.jetstream.broker import Broker
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.jobs import PeriodicJob, run_periodically
from chassis.events.membership.members import Members
from chassis.events.operator_changes import OperatorChange
from chassis.events.producer import outbox
from chassis.events.producer import refused as refused_rows
from chassis.events.producer.relay import Relay
from chassis.events.producer.resender import Resender
from chassis.events.tasks import rows as task_rows
from chassis.events.tasks.gate import Gate
from chassis.events.tasks.runner import TaskRunner
from chassis.events.waiting import end
from chassis.events.wire import transport
from chassis.events.wire.contracts import source_service, stream_of
from chassis.ids import uuid7

__all__ = ["EventLedger", "EventPath"]

_log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class EventLedger:
    """What the event path still holds, counted from rows at the moment of asking.

    What the stream refused and was set apart counts as unsent.
    """

    unsent: int
    lag: int
    tasks: int
    dead_letters: int
    stopped: tuple[str, ...]


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
        self._database = database
        self._jobs = jobs
        self.member = member or uuid7()
        self._tasks: list[asyncio.Task[None]] = []
        self._on_fatal = on_fatal
        self._ending = False
        self.broker = Broker(NatsOptions.of(nats_url, settings, service), service)
        self._gate = Gate()
        self.relay: Relay | None = None
        self.members: Members | None = None
        self.readers: list[Reader] = []
        self.foreign_readers: list[ForeignReader] = []
        self._reading: list[asyncio.Task[None]] = []
        self.task_runner: TaskRunner | None = None
        self.cleanup: Cleanup | None = None
        self.pauses: Pauses | None = None
        self.held_up = HeldUp()
        self._service = service
        subscribe_broadcasts(self.broker, broadcasts)
        if database is None:
            return
        self._long_transactions = LongTransactions(database, settings.long_transaction_seconds)
        self.broker.subscribe(transport.operator_subject(service), self._changed_by_operator)
        if publishes:
            self.relay = Relay(
                database,
                stream=stream_of(service),
                types=tuple(publishes),
                nats_url=nats_url,
                settings=settings,
                on_fatal=on_fatal,
            )
            self.broker.subscribe(transport.wake_subject(service), self._woken)
            Resender(service, database, self.broker)
        if handlers or publishes:
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
        if handlers:
            assert self.members
            own = {type: h for type, h in handlers.items() if h.foreign is None}
            self.pauses = self.held_up.pauses = Pauses(database, settings.net_seconds)
            self.task_runner = TaskRunner(
                database,
                handlers,
                member=self.member,
                version=version,
                versions_of=self.members.versions_of,
                settings=settings,
                gate=self._gate,
                pauses=self.pauses,
            )
            self.cleanup = Cleanup(database, self.members, settings)
            self.pauses.on_change(self.task_runner.wake)
            self.readers = [
                Reader(
                    stream,
                    of_stream,
                    database=database,
                    broker=self.broker,
                    members=self.members,
                    gate=self._gate,
                    pauses=self.pauses,
                    settings=settings,
                    on_tasks=self.task_runner.wake,
                )
                for stream, of_stream in sorted(_by_stream(own).items())
            ]
            self.foreign_readers = [
                ForeignReader(
                    foreign,
                    of_foreign,
                    database=database,
                    broker=self.broker,
                    members=self.members,
                    gate=self._gate,
                    pauses=self.pauses,
                    settings=settings,
                    on_tasks=self.task_runner.wake,
                )
                for foreign, of_foreign in sorted(_by_foreign(handlers).items())
            ]

    async def start(self) -> None:
        """Start everything in the background; a broker that is away is waited for.

        Raises:
            WrongDatabase: the database belongs to another service.
            DatabaseDown, ConnectionLost: it cannot be asked.
        """
        if self._database and self.members:
            self.members.database = (await self._database.identify(self._service)).id
        self._spawn(self.broker.run())
        if self._database is None:
            return
        loop = asyncio.get_running_loop()
        if self.relay:
            self._database.on_published(partial(_call_soon, loop, self._wake_relays))
            self._spawn(self._relay_while_member(self.relay))
        if self.members:
            self._spawn(self.members.run())
        if self.pauses:
            self._spawn(self.pauses.run())
        if self.task_runner:
            self._spawn(self.task_runner.run())
        if self.cleanup:
            self._spawn(self.cleanup.run())
        self._reading = [self._spawn(reader.run()) for reader in self._all_readers]
        for job in self._jobs:
            self._spawn(run_periodically(self._database, job))
        self._spawn(self._long_transactions.run())
        self._spawn(
            measure_for_ever(self._database, self.readers, self.foreign_readers, self.held_up)
        )

    async def let_go(self, seconds: float = 10) -> None:
        """Take no more: finish what is in hand within `seconds`, then let the lanes go."""
        self._ending = True
        for reader in self._all_readers:
            await reader.stop()
        if self.task_runner:
            await self.task_runner.stop(seconds)
        if self._reading:
            _, late = await asyncio.wait(self._reading, timeout=seconds)
            for task in late:
                task.cancel()
        for reader in self._all_readers:
            try:
                await reader.let_go()
            except Exception as error:
                _log.warning("lanes stay marked", stream=reader.stream, error=str(error))

    async def flush(self, seconds: float = 5) -> None:
        """Wait until the outbox is empty, at most so long; what stays is sent later."""
        if self.relay and self.broker.connected.is_set() and not self.refused:
            try:
                await asyncio.wait_for(self.relay.flushed(), seconds)
            except Exception as error:
                _log.warning("events stay in the outbox", error=str(error) or "out of time")

    async def close(self) -> None:
        """Leave the group and close the connection to the broker."""
        self._ending = True
        if self.members:
            try:
                await self.members.leave()
            except Exception as error:
                _log.debug("leaving", error=str(error))
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
        if self.relay and (reason := self.relay.hindrance.reason or self.relay.refusing):
            states["publishing"] = reason
        if self.members and self.members.hindrance:
            states["members"] = self.members.hindrance
        reading = {r.hindrance.reason for r in self.readers if r.hindrance.reason}
        if reading:
            states["reading"] = "; ".join(sorted(reading))
        return states

    async def ledger(self) -> EventLedger:
        """Count what is unsent, not yet taken, waiting and dead, over all replicas.

        Raises:
            DatabaseDown, ConnectionLost, LagUnknown, JetStreamError, nats.errors.Error,
            TimeoutError: it cannot be counted now.
        """
        assert self._database is not None

        # In the order in which an event goes: what moves on meanwhile is counted later, and not
        # missed by all.
        unsent = await self._database.read(
            lambda tx: outbox.unsent_count(tx.session) + refused_rows.count(tx.session)
        )
        lag = sum([await reader.lag_of_all() for reader in self._all_readers])
        tasks, dead = await self._database.read(lambda tx: task_rows.count(tx.session))
        stopped = tuple(
            f"{stop.subject}: {stop.reason}" for reader in self.readers for stop in reader.stops.all
        )
        return EventLedger(unsent, lag, tasks, dead, stopped)

    @property
    def _all_readers(self) -> list[Reader | ForeignReader]:
        return [*self.readers, *self.foreign_readers]

    # --- inside ---------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = asyncio.create_task(work)
        task.add_done_callback(self._ended)
        self._tasks.append(task)
        return task

    async def _relay_while_member(self, relay: Relay) -> None:
        """Two databases that publish into one stream would number over each other for ever."""
        assert self.members
        while True:
            await self.members.joined.wait()
            relaying = asyncio.create_task(relay.run())
            barred = asyncio.create_task(self.members.barred.wait())
            try:
                await asyncio.wait({relaying, barred}, return_when=asyncio.FIRST_COMPLETED)
                if relaying.done():
                    return relaying.result()
            finally:
                await end([relaying, barred])

    def _ended(self, task: asyncio.Task[None]) -> None:
        """Half dead it would look ready."""
        if self._ending:
            return
        error = RuntimeError("it was cancelled") if task.cancelled() else task.exception()
        if error is not None:
            # First of all: what is logged about it may fail as well.
            self._on_fatal(error if isinstance(error, Exception) else RuntimeError(repr(error)))
            _log.error("a part of the event path has ended", exc_info=error)

    def _wake_relays(self) -> None:
        """This process's relay, and through the broker that of the replica which holds the lock."""
        assert self.relay
        self.relay.wake()
        if self.broker.connected.is_set() and not self.relay.leading:
            self._spawn_once(self.broker.client.publish(transport.wake_subject(self._service), b""))

    def _spawn_once(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        task.add_done_callback(lambda done: done.cancelled() or done.exception())

    async def _woken(self, message: Msg) -> None:
        assert self.relay
        if message.data == transport.ASK:
            self.relay.ask()
        else:
            self.relay.wake()

    async def _changed_by_operator(self, message: Msg) -> None:
        """Look at once, and say whose doing it is: an operator's own log may be read by nobody."""
        change = OperatorChange.from_json(message.data)
        if change is None:
            return
        change.log()
        if self.relay:
            self.relay.wake()
        if self.pauses:
            self.pauses.look_again()
        for reader in self._all_readers:
            reader.look_again()
        if self.task_runner:
            self.task_runner.wake()


def _call_soon(loop: asyncio.AbstractEventLoop, call: Callable[[], None]) -> None:
    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody is left to wake
        loop.call_soon_threadsafe(call)


def _by_foreign(handlers: Mapping[str, Handler]) -> dict[Foreign, dict[str, Handler]]:
    foreign: dict[Foreign, dict[str, Handler]] = {}
    for type, handler in handlers.items():
        if handler.foreign:
            foreign.setdefault(handler.foreign, {})[type] = handler
    return foreign


def _by_stream(handlers: Mapping[str, Handler]) -> dict[str, dict[str, Handler]]:
    streams: dict[str, dict[str, Handler]] = {}
    for type, handler in handlers.items():
        streams.setdefault(stream_of(source_service(type)), {})[type] = handler
    return streams
