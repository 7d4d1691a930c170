"""Transactions that wait for another one."""

import asyncio
import threading

import psycopg
from bookshop import eventually
from sqlalchemy import event

from chassis.database import Database

__all__ = ["is_blocked", "next_begin", "waits_for_a_lock"]


def next_begin(database: Database) -> threading.Event:
    """Return an event that is set when the database sends the next BEGIN.

    On SQLite a BEGIN waits until the writer of another connection has ended.
    """
    begun = threading.Event()

    @event.listens_for(database.engine, "begin")
    def begin(_connection: object) -> None:
        begun.set()

    return begun


async def is_blocked(database: Database, begun: threading.Event, statement: str) -> None:
    """Wait until a transaction of the database waits for that of another connection.

    `begun` is from `next_begin`; PostgreSQL waits in a statement that contains the given text.
    """
    if database.sqlite:
        assert await asyncio.to_thread(begun.wait, 20)
    else:
        await waits_for_a_lock(database.url, statement)


async def waits_for_a_lock(url: str, statement: str) -> None:
    """Wait until a connection waits for a lock in a statement that contains this text."""

    def look() -> bool:
        with psycopg.connect(url.replace("+psycopg", "")) as connection:
            return (
                connection.execute(_WAITING, {"statement": f"%{statement}%"}).fetchone() is not None
            )

    async def holds() -> bool:
        return await asyncio.to_thread(look)

    await eventually(holds)


_WAITING = """
    SELECT pid FROM pg_stat_activity
    WHERE datname = current_database() AND wait_event_type = 'Lock' AND query ILIKE %(statement)s
"""
