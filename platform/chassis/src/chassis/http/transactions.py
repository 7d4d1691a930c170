"""Transactions of routes, on the database's threads: they would block the event loop."""

from collections.abc import Callable
from typing import Annotated, Any, Concatenate, ParamSpec, Protocol, TypeAlias, TypeVar

from fastapi import Depends
from fastapi.requests import HTTPConnection

from chassis.database import Database, DatabaseDown, ReadTransaction, Transaction

__all__ = ["RouteRead", "RouteTransact", "takes_transaction"]

P = ParamSpec("P")
T = TypeVar("T")


class _Read(Protocol):
    """The type of a RouteRead parameter."""

    async def __call__(
        self, work: Callable[Concatenate[ReadTransaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T: ...


class _Transact(Protocol):
    """The type of a RouteTransact parameter."""

    async def __call__(
        self, work: Callable[Concatenate[Transaction, P], T], *args: P.args, **kwargs: P.kwargs
    ) -> T: ...


async def _read(connection: HTTPConnection) -> Any:
    """Return the value of a RouteRead parameter."""

    async def read(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await _database(connection).read(lambda tx: work(tx, *args, **kwargs))

    return read


async def _transact(connection: HTTPConnection) -> Any:
    """Return the value of a RouteTransact parameter."""

    async def transact(work: Callable[..., Any], *args: Any, **kwargs: Any) -> Any:
        return await _database(connection).transaction(lambda tx: work(tx, *args, **kwargs))

    return transact


def _database(connection: HTTPConnection) -> Database:
    """Return the service's database; raise DatabaseDown while the service is starting."""
    database: Database | None = connection.app.state.database
    if database is None:
        raise DatabaseDown("the service is starting: its database is not open yet")
    return database


RouteRead: TypeAlias = Annotated[_Read, Depends(_read)]
"""The annotation of an `async def` route's parameter: `await read(work, …)` calls `work(tx, …)` on
a reading thread, with a ReadTransaction, and returns its result.

While the database is unavailable, the route answers 503 with Retry-After."""

RouteTransact: TypeAlias = Annotated[_Transact, Depends(_transact)]
"""As RouteRead, but with a Transaction: the changes and events of `work(tx, …)` are one commit.
Each call is a transaction of its own."""


def takes_transaction(call: object) -> bool:
    """Return whether the dependency of a route is RouteRead's or RouteTransact's."""
    return call in (_read, _transact)
