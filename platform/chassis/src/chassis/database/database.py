"""Transactions on threads of their own: the event loop hands over work and awaits its commit."""

import asyncio
import contextvars
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from chassis.database import health
from chassis.database.engine import Renewal, is_sqlite, make_engine, make_read_engine
from chassis.database.faults import (
    ConnectionLost,
    DatabaseAtFault,
    DatabaseDown,
    Fault,
    Testimony,
    Witness,
    fault_of,
    line_of,
)
from chassis.database.identity import Identity, claim
from chassis.database.transaction import CreatesEvents, ReadTransaction, Transaction
from chassis.database.work_session import WorkSession

__all__ = ["Database", "RunningTransaction"]

T = TypeVar("T")

_RETRIES = 5
# So long readiness says what work was refused for, though a small write succeeds.
_REMEMBERED_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class RunningTransaction:
    """The thread that it holds (its ident), since when (monotonic) and for how many seconds."""

    thread: int
    begun: float
    seconds: float


class Database:
    """A service's database.

    SQLite has one writing thread (more only fight), PostgreSQL as many as `threads`, and one for
    what is urgent. Reads have connections of their own.
    """

    def __init__(
        self, url: str, events: CreatesEvents, *, threads: int = 4, read_threads: int = 4
    ) -> None:
        self.url = url
        self.events = events
        self.sqlite = is_sqlite(url)
        writers = 1 if self.sqlite else threads
        self.threads = writers
        self._begun: dict[int, float] = {}
        self._engine = make_engine(url, writers if self.sqlite else writers + 1)
        self._read_engine = make_read_engine(url, read_threads)
        self._renewals = [Renewal(self._engine), Renewal(self._read_engine)]
        self._witness = Witness(self._engine)
        self._refusals: dict[type[Exception], tuple[str, float]] = {}
        self._writers = ThreadPoolExecutor(writers, thread_name_prefix="transaction")
        self._urgent = (
            self._writers if self.sqlite else ThreadPoolExecutor(1, thread_name_prefix="urgent")
        )
        self._readers = ThreadPoolExecutor(read_threads, thread_name_prefix="read")
        self._on_published: list[Callable[[], None]] = []
        self._identity: Identity | None = None

    @property
    def engines(self) -> tuple[Engine, Engine]:
        """The engines of writing and of reading connections, for instrumentations."""
        return self._engine, self._read_engine

    def on_published(self, call: Callable[[], None]) -> None:
        """Call, on the committing thread, after each commit that put events into the outbox."""
        self._on_published.append(call)

    async def transaction(self, work: Callable[[Transaction], T], *, urgent: bool = False) -> T:
        """Run `work` on a transaction thread in one commit, and return what it returned.

        What is `urgent` runs, on PostgreSQL, on a thread that no handler ever holds.

        A deadlock or serialization failure runs it again at once, a few times, and so does a
        connection that led to a read-only server.

        Raises:
            DatabaseDown, ConnectionLost: nothing to do with `work`; try later.
            DatabaseAtFault: the database cannot do this work now; other work may succeed.
            Exception: what `work` raised; nothing was changed.
        """
        executor = self._urgent if urgent else self._writers
        return await self._on(executor, self._transact_on_thread, work)

    def running(self) -> list[RunningTransaction]:
        """The transactions that hold a thread now."""
        now = time.monotonic()
        return [RunningTransaction(t, b, now - b) for t, b in list(self._begun.items())]

    def _transact_on_thread(self, work: Callable[[Transaction], T]) -> T:
        thread = threading.get_ident()
        self._begun[thread] = time.monotonic()
        try:
            return self.transact(work)
        finally:
            del self._begun[thread]

    async def read(self, work: Callable[[ReadTransaction], T]) -> T:
        """Run `work` on a reading thread in a transaction that writes nothing.

        Raises: as `transaction`.
        """
        return await self._on(self._readers, self._read, work)

    async def identify(self, service: str) -> Identity:
        """Whose database it is; that of `service` from now on if it was nobody's.

        Raises:
            WrongDatabase: it belongs to another service.
            DatabaseDown, ConnectionLost: it cannot be asked now.
        """
        if self._identity is None or self._identity.service != service:
            self._identity = await self.transaction(lambda tx: claim(tx.session, service))
        return self._identity

    async def check(self, *, write: bool = False) -> None:
        """Whether it can be reached and takes writes; `write` tries one.

        Raises:
            DatabaseDown: it cannot, or does not.
        """
        await self._on(self._readers, self._check, write)

    def refused(self, kind: type[DatabaseDown] | type[DatabaseAtFault]) -> str | None:
        """Why it has refused work within the last seconds, None if it has not."""
        reason, at = self._refusals.get(kind, (None, 0.0))
        return reason if time.monotonic() - at < _REMEMBERED_SECONDS else None

    def close(self) -> None:
        """Wait for running transactions, then close every connection."""
        self._writers.shutdown(wait=True)
        self._urgent.shutdown(wait=True)
        self._readers.shutdown(wait=True)
        self._engine.dispose()
        self._read_engine.dispose()

    async def _on(
        self, executor: ThreadPoolExecutor, call: Callable[..., T], *arguments: object
    ) -> T:
        context = contextvars.copy_context()
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(executor, context.run, call, *arguments)

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """`transaction`, on the thread of the caller."""
        renewed = False
        for attempt in range(1, _RETRIES + 1):
            with self._witness.watch() as testimony:
                try:
                    return self._transact_once(work, testimony)
                except DatabaseDown:
                    raise
                except Exception as error:
                    cause = testimony.cause_of(error)
                    if cause is None:
                        raise
                    fault = fault_of(cause)
                    if fault is Fault.AGAIN and attempt < _RETRIES:
                        time.sleep(random.uniform(0, 0.01 * attempt))
                        continue
                    if fault is Fault.READ_ONLY and not renewed and attempt < _RETRIES:
                        # After a fail-over a fresh connection may lead to the new primary.
                        self._renew()
                        renewed = True
                        continue
                    explained = self._explained(cause, fault)
                    if explained is None:
                        raise
                    raise explained from error
        raise AssertionError("unreachable")

    def _transact_once(self, work: Callable[[Transaction], T], testimony: Testimony) -> T:
        with WorkSession.open(self._engine) as session:
            _connect(session)
            testimony.errors.clear()  # of a connection that had died and was made anew
            transaction = Transaction(session, self.events)
            try:
                result = work(transaction)
                if (swallowed := testimony.swallowed()) is not None:
                    raise swallowed
                published = transaction._finish(result)
            finally:
                transaction._over = True
        transaction._committed()
        if published:
            for call in self._on_published:
                call()
        return result

    def _read(self, work: Callable[[ReadTransaction], T]) -> T:
        try:
            with WorkSession.open(self._read_engine) as session:
                _connect(session)
                transaction = ReadTransaction(session)
                try:
                    result = work(transaction)
                    transaction._end_read(result)
                finally:
                    transaction._over = True
                return result
        except DatabaseDown:
            raise
        except Exception as error:
            cause = Testimony().cause_of(error)
            fault = Fault.OWN if cause is None else fault_of(cause)
            # Who writes here is refused by the transaction, not by the server.
            if cause is None or fault is Fault.READ_ONLY:
                raise
            explained = self._explained(cause, fault)
            if explained is None:
                raise
            raise explained from error

    def _explained(self, error: DBAPIError, fault: Fault) -> Exception | None:
        """What the error says of the database; None if it says nothing."""
        if fault is Fault.OWN:
            return None
        if fault is Fault.LOST:
            return ConnectionLost(line_of(error))
        if fault is Fault.AGAIN:
            return DatabaseDown("another process holds its lock") if self.sqlite else None
        if fault is Fault.DOWN:
            return self._refusal(DatabaseDown(line_of(error)))
        try:
            self._check(write=True)
        except DatabaseDown as down:
            return self._refusal(down)
        if fault is Fault.UNKNOWN:
            return None
        # A server that refused writes and takes them now has been replaced meanwhile.
        return self._refusal(DatabaseAtFault(line_of(error)))

    def _refusal(self, refusal: DatabaseDown | DatabaseAtFault) -> Exception:
        self._refusals[type(refusal)] = (str(refusal), time.monotonic())
        return refusal

    def _check(self, write: bool) -> None:
        """Raises DatabaseDown."""
        try:
            health.reach(self._read_engine)
        except Exception:
            # A pooled connection may be stale, or lead to a server that was the primary, and would
            # cost a transaction; what counts is what a fresh one finds.
            self._renew()
            health.reach(self._read_engine)
        if write:
            health.write(self._read_engine)

    def _renew(self) -> None:
        for renewal in self._renewals:
            renewal.renew()


def _connect(session: WorkSession) -> None:
    """A database that refuses a connection shows here and not in the handler.

    Raises:
        DatabaseDown: it was refused.
    """
    try:
        session.start()
    except DBAPIError as error:
        if fault_of(error) in (Fault.AGAIN, Fault.READ_ONLY):
            raise
        raise DatabaseDown(line_of(error)) from error
