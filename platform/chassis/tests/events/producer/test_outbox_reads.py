"""Frequent reads of the outbox cost the same, however many sent events it holds."""

import re
from collections.abc import Callable
from typing import Any

import pytest
from relaying import Shop
from sqlalchemy import event, text, update

from chassis.database import ReadTransaction, Transaction
from chassis.database.engine import is_sqlite
from chassis.database.tables import relay
from chassis.events.producer import outbox
from chassis.events.producer.counters import lock_counters, number_new, record_sent
from chassis.events.producer.renumbering import HeldEvent, lift_counters

pytestmark = [pytest.mark.dialect, pytest.mark.unit]

Look = Callable[[Any], object]
SENT = 3000
OFTEN: dict[str, Look] = {
    "whether anything is unsent": outbox.has_unsent,
    "the oldest unsent event": outbox.oldest_unsent,
    "the next events": lambda session: outbox.unsent_after(session, SENT, 100, 10**6),
}
SELDOM: dict[str, Look] = {
    "the number of unsent events": outbox.unsent_count,
    "the rows of unsent events": outbox.rows_of_unsent,
    "the types": outbox.types,
}
WAITING = 20


def fill(tx: Transaction) -> None:
    """Insert `SENT` events that are recorded as sent."""
    sqlite = tx.session.get_bind().dialect.name == "sqlite"
    series = (
        f"WITH RECURSIVE s(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM s WHERE i < {SENT}) "
        "SELECT i FROM s"
        if sqlite
        else f"SELECT i FROM generate_series(1, {SENT}) AS i"
    )
    nothing = "x''" if sqlite else "''"
    tx.session.execute(
        text(
            "INSERT INTO slipway_outbox (event_id, subject, headers, data, created_at) "
            f"SELECT 'id-' || i, 'type.' || (i % 20), {nothing}, {nothing}, i FROM ({series}) AS s"
        )
    )
    number_new(tx.session, lock_counters(tx.session), SENT, 1 << 20)
    record_sent(tx.session, SENT, SENT)


async def publish_waiting(shop: Shop) -> None:
    await shop.sell(range(WAITING))
    await shop.database.transaction(
        lambda tx: number_new(tx.session, lock_counters(tx.session), WAITING // 2, 1 << 20)
    )


@pytest.mark.parametrize("when", ["nothing waits", "some wait", "statistics are old"])
async def test_no_query_reads_rows_that_were_sent(
    new_database: Callable[[str], str], when: str
) -> None:
    url = new_database("shop")
    async with Shop(url) as shop:
        if when == "statistics are old" and not is_sqlite(url):
            # By the server's statistics no event has a number yet.
            await shop.sell(range(100))
            await analyze(shop)
        await shop.database.transaction(fill)
        if when == "some wait":
            await publish_waiting(shop)
        if when != "statistics are old":
            await analyze(shop)
        looks = OFTEN if when == "statistics are old" else OFTEN | SELDOM
        read = {
            name: await shop.database.read(lambda tx, look=look: rows_read(tx, look))  # type: ignore[misc]
            for name, look in looks.items()
        }
        assert {name: rows for name, rows in read.items() if rows > 10 * WAITING} == {}


async def test_unsent_events_that_the_stream_holds_are_updated_by_their_row_without_a_scan(
    new_database: Callable[[str], str],
) -> None:
    """After a restore with unsent events each of them is looked up once."""
    found: list[int] = []

    def restore(tx: Transaction) -> None:
        connection = tx.session.connection()
        counters = lock_counters(tx.session)
        rows = outbox.rows_of_unsent(tx.session)
        held = [HeldEvent(row, number, number) for number, row in enumerate(rows.values(), start=1)]

        def count(_c: object, _k: object, sql: str, rows: Any, _x: object, many: bool) -> None:
            if many and sql.startswith("UPDATE slipway_outbox"):
                scans = sqlite_scans if connection.dialect.name == "sqlite" else postgres_scans
                found.append(scans(connection, sql, rows[0]))

        event.listen(connection, "before_cursor_execute", count)
        lift_counters(
            tx.session,
            counters,
            generation="another",
            lineage="",
            numbers={},
            held=held,
            held_refused={},
            sequence=len(held),
            rank=len(held),
        )

    async with Shop(new_database("shop")) as shop:
        await shop.sell(range(2000))
        await shop.database.transaction(restore)
        assert found == [0]
        assert await shop.unsent() == 0


def postgres_scans(connection: Any, statement: str, parameters: Any) -> int:
    plan = connection.exec_driver_sql(f"EXPLAIN (COSTS OFF) {statement}", parameters)
    return sum("Seq Scan on slipway_outbox" in line for (line,) in plan)


async def analyze(shop: Shop) -> None:
    await shop.database.transaction(lambda tx: tx.session.execute(text("ANALYZE")))


def rows_read(tx: ReadTransaction, look: Look) -> int:
    """Return the number of outbox rows that a query reads, by the database's own plan."""
    statements: list[tuple[str, Any]] = []
    connection = tx.session.connection()

    def record(_c: object, _k: object, statement: str, parameters: Any, *_: object) -> None:
        statements.append((statement, parameters))

    event.listen(connection, "before_cursor_execute", record)
    try:
        look(tx.session)
    finally:
        event.remove(connection, "before_cursor_execute", record)
    count = sqlite_scans if connection.dialect.name == "sqlite" else postgres_rows
    return sum(count(connection, *found) for found in statements)


def sqlite_scans(connection: Any, statement: str, parameters: Any) -> int:
    """Return `SENT` for each full scan in the plan, because SQLite does not count rows."""
    plan = connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {statement}", parameters)
    steps = [row[-1] for row in plan]
    whole = [
        step
        for step in steps
        if step.startswith("SCAN slipway_outbox") and "slipway_outbox_unnumbered" not in step
    ]
    return SENT * len(whole)


def postgres_rows(connection: Any, statement: str, parameters: Any) -> int:
    plan = connection.exec_driver_sql(f"EXPLAIN (ANALYZE, COSTS OFF) {statement}", parameters)
    rows = 0
    scans = False
    for (line,) in plan:
        if "->" in line or not line.startswith(" "):
            scans = "slipway_outbox" in line
        if scans and (found := re.search(r"rows=([\d.]+) loops=(\d+)", line)):
            rows += round(float(found[1]) * int(found[2]))
        if scans and (removed := re.search(r"Rows Removed by Filter: (\d+)", line)):
            rows += int(removed[1])
    return rows


async def test_ranks_may_exceed_32_bits(new_database: Callable[[str], str]) -> None:
    before = 2**31

    def number(tx: Transaction) -> list[int]:
        lock_counters(tx.session)
        tx.session.execute(update(relay).values(rank=before, sent_rank=before))
        number_new(tx.session, lock_counters(tx.session), 100, 1 << 20)
        return [event.rank for event in outbox.unsent_after(tx.session, before, 100, 10**6)]

    async with Shop(new_database("shop")) as shop:
        await shop.sell(range(2))
        assert await shop.database.transaction(number) == [before + 1, before + 2]
