"""Who waits in a database for what another transaction holds."""

import asyncio

import psycopg
from bookshop import eventually

__all__ = ["waits_for_a_lock"]


async def waits_for_a_lock(url: str, statement: str) -> None:
    """Wait until a connection of this PostgreSQL database waits for a lock in such a statement."""

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
