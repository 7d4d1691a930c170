"""A service's database: transactions that run on threads, next to the event loop."""

import random
import time
from collections.abc import Callable
from typing import TypeVar

from sqlalchemy.exc import DBAPIError

from chassis.database.availability import Availability
from chassis.database.deferred import DeferredFailed
from chassis.database.engine import is_sqlite, make_engine, make_read_engine
from chassis.database.faults import DatabaseAtFault, DatabaseDown, Fault, fault_of, first_line
from chassis.database.identity import Identity, claim
from chassis.database.statement_errors import ErrorRecorder, StatementErrors
from chassis.database.threads import RunningTransaction, TransactionThreads
from chassis.database.transaction import CreatesEvents, ReadTransaction, Transaction
from chassis.database.transaction_state import TransactionState
from chassis.database.work import Work

__all__ = ["Database"]

T = TypeVar("T")

_ATTEMPTS = 5


class Database:
    """The database of a service, with connections and threads for writing and for reading.

    SQLite has one thread for writing, since it has one writer at a time; PostgreSQL has `threads`
    of them and one more for urgent work.
    """

    def __init__(
        self, url: str, events: CreatesEvents, *, threads: int = 4, read_threads: int = 4
    ) -> None:
        self.url = url
        self.events = events
        self.sqlite = is_sqlite(url)
        self.threads = 1 if self.sqlite else threads
        self.engine = make_engine(url, self.threads if self.sqlite else self.threads + 1)
        self.read_engine = make_read_engine(url, read_threads)
        self._threads = TransactionThreads(self.threads, read_threads, urgent=not self.sqlite)
        self._availability = Availability(self.engine, self.read_engine)
        self._errors = ErrorRecorder(self.engine)
        self._on_published: list[Callable[[], None]] = []
        self._identity: Identity | None = None

    def on_published(self, call: Callable[[], None]) -> None:
        """Register a call for each commit that added events to the outbox.

        It runs on the thread that committed.
        """
        self._on_published.append(call)

    async def transaction(self, work: Callable[[Transaction], T], *, urgent: bool = False) -> T:
        """Run `work` in one commit on a thread for writing, and return what it returned.

        On PostgreSQL, `urgent` work runs on a thread that handlers never occupy.

        After a deadlock or a serialization failure `work` runs again at once, at most 5 times in
        all; after a connection to a read-only server it runs once more on a new connection.

        Raises:
            DatabaseDown, ConnectionLost: the database is unavailable, whatever the work; try later.
            DatabaseAtFault: the database cannot do this work now; other work may succeed.
            DeferredFailed: a change failed that `work` had allowed to be deferred.
            Exception: what `work` raised; nothing was changed.
        """
        return await self._threads.write(self.transact, work, urgent=urgent)

    async def read(self, work: Callable[[ReadTransaction], T]) -> T:
        """Run `work` on a thread for reading, in a transaction that writes nothing.

        Raises: as `transaction`.
        """
        return await self._threads.read(self.read_here, work)

    def running(self) -> list[RunningTransaction]:
        """Return the writing transactions that occupy a thread now."""
        return self._threads.running()

    async def identify(self, service: str) -> Identity:
        """Return the identity of the database; assign it to `service` if it belongs to no service.

        Raises:
            WrongDatabase: it belongs to another service.
            DatabaseDown, ConnectionLost: the database is unavailable.
        """
        if self._identity is None or self._identity.service != service:
            self._identity = await self.transaction(lambda tx: claim(tx.session, service))
        return self._identity

    async def check(self, *, write: bool = False) -> None:
        """Check that the database can be reached and takes writes; `write` tries one.

        Raises:
            DatabaseDown: it cannot be reached, or takes no writes.
        """
        await self._threads.read(self._availability.check, write)

    def refused(self, kind: type[DatabaseDown] | type[DatabaseAtFault]) -> str | None:
        """Return why the database refused work within the last 5 s, None if it did not."""
        return self._availability.refused(kind)

    def close(self) -> None:
        """Wait for running transactions, then close every connection."""
        self._threads.close()
        self.engine.dispose()
        self.read_engine.dispose()

    def transact(self, work: Callable[[Transaction], T]) -> T:
        """Run a `transaction` on the thread of the caller."""
        renewed = False
        for attempt in range(1, _ATTEMPTS + 1):
            with self._errors.record() as errors:
                try:
                    return self._transact_once(work, errors)
                except DatabaseDown:
                    raise
                except Exception as error:
                    cause = errors.cause_of(error)
                    if cause is None:
                        raise
                    fault = fault_of(cause)
                    if fault is Fault.RETRY and attempt < _ATTEMPTS:
                        time.sleep(random.uniform(0, 0.01 * attempt))
                        continue
                    if fault is Fault.READ_ONLY and not renewed and attempt < _ATTEMPTS:
                        # After a fail-over a new connection may lead to the new primary.
                        self._availability.renew_connections()
                        renewed = True
                        continue
                    explained = self._availability.explain(cause, fault)
                    if explained is None:
                        raise
                    raise explained from error
        raise AssertionError("unreachable")

    def _transact_once(self, work: Callable[[Transaction], T], errors: StatementErrors) -> T:
        """Run the work in one transaction and commit it."""
        with Work(self.engine) as opened:
            _begin(opened)
            # A pooled connection that had died was replaced; its error does not count.
            errors.errors.clear()
            state = TransactionState(opened)
            try:
                result = work(Transaction(state, self.events))
                if (swallowed := errors.swallowed()) is not None:
                    raise swallowed
                published = state.commit(result)
            except Exception as error:
                if opened.deferred_failed:
                    raise DeferredFailed from error
                raise
            finally:
                state.over = True
        state.call_after_commit()
        if published:
            for call in self._on_published:
                call()
        return result

    def read_here(self, work: Callable[[ReadTransaction], T]) -> T:
        """Run a `read` on the thread of the caller."""
        try:
            with Work(self.read_engine) as opened:
                _begin(opened)
                state = TransactionState(opened)
                try:
                    result = work(ReadTransaction(state))
                    state.end_read(result)
                finally:
                    state.over = True
                return result
        except DatabaseDown:
            raise
        except Exception as error:
            cause = StatementErrors().cause_of(error)
            # A write is refused by the reading transaction, which does not mean that the server
            # takes no writes.
            if cause is None or (fault := fault_of(cause)) is Fault.READ_ONLY:
                raise
            explained = self._availability.explain(cause, fault)
            if explained is None:
                raise
            raise explained from error


def _begin(opened: Work) -> None:
    """Begin the transaction, so that a refused connection does not count as the work's failure.

    Raises:
        DatabaseDown: the connection was refused.
    """
    try:
        opened.start()
    except DBAPIError as error:
        if fault_of(error) in (Fault.RETRY, Fault.READ_ONLY):
            raise
        raise DatabaseDown(first_line(error)) from error
