"""The cost of statements, as the database counts it."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from sqlalchemy import event

from chassis.database import Database

__all__ = ["Work"]


class Work:
    """The work of a database: steps of SQLite's virtual machine, or pages that PostgreSQL reads."""

    def __init__(self) -> None:
        self.done = 0

    @contextmanager
    def counted(self, database: Database) -> Iterator[None]:
        """Count the work of all statements within the block."""

        def step() -> None:
            self.done += 1

        @event.listens_for(database.engine, "before_cursor_execute")
        def execute(connection: Any, _cursor: Any, statement: str, values: Any, *_: Any) -> None:
            if database.sqlite:
                connection.connection.dbapi_connection.set_progress_handler(step, 1)
            elif statement.startswith(("SELECT", "WITH")):
                explain = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}"
                (found,) = connection.exec_driver_sql(explain, values).one()
                plan = (json.loads(found) if isinstance(found, str) else found)[0]["Plan"]
                self.done += plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]

        yield
        event.remove(database.engine, "before_cursor_execute", execute)
