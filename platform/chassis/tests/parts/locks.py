"""Locks that transactions of a PostgreSQL database wait for."""

import asyncio

import psycopg
from bookshop import eventually

__all__ = ["waits_for_a_lock"]


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
