"""The dialect for SQLite."""

from sqlalchemy.dialects.sqlite.pysqlite import SQLiteDialect_pysqlite

from chassis.database.dialects.guarded import Guarded

__all__ = ["Sqlite"]


class Sqlite(Guarded, SQLiteDialect_pysqlite):
    """SQLite by the driver of Python's library."""

    supports_statement_cache = True
