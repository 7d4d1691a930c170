"""The rows of a service's tables on a scratch database, before and after the events."""

import json
from collections.abc import Iterator, Mapping, Sequence
from functools import partial

from sqlalchemy import MetaData, Table, insert, select

from chassis.database import Transaction
from chassis.database.scratch import ScratchDatabase
from chassis.shadow.masks import Masks
from chassis.shadow.plain_values import from_plain, shown
from chassis.shadow.results import WrittenRow

__all__ = ["copy_rows", "written_rows"]


def copy_rows(
    scratch: ScratchDatabase,
    tables: Sequence[Table],
    rows: Mapping[str, Sequence[Mapping[str, object]]],
    masks: Masks,
) -> None:
    """Insert the recorded rows of these tables, in the columns that this version has.

    Raises:
        sqlalchemy.exc.DBAPIError: the database refused.
    """
    for table in tables:
        recorded = rows.get(table.name, ())
        masks.learn(json.dumps(recorded))
        if recorded:
            values = [
                {name: from_plain(plain) for name, plain in row.items() if name in table.c}
                for row in recorded
            ]
            scratch.transact(partial(_insert, table, values))


def _insert(table: Table, values: list[dict[str, object]], tx: Transaction) -> None:
    tx.session.execute(insert(table), values)


def written_rows(
    scratch: ScratchDatabase, tables: MetaData | None, masks: Masks
) -> Iterator[WrittenRow]:
    """Yield each row of a service's tables, ordered by their primary keys."""
    for table in tables.sorted_tables if tables is not None else ():
        key = [column.name for column in table.primary_key]
        for row in scratch.transact(partial(_rows, table))[0]:
            masked = masks.masked({n: shown(v) for n, v in row.items()}, f"table {table.name}")
            assert isinstance(masked, dict)
            yield WrittenRow(table.name, {name: masked[name] for name in key}, masked)


def _rows(table: Table, tx: Transaction) -> list[dict[str, object]]:
    statement = select(table).order_by(*table.primary_key)
    return [dict(row) for row in tx.session.execute(statement).mappings()]
