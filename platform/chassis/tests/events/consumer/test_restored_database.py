"""A service whose database is restored from a backup handles the later events again."""

from collections.abc import Callable

import pytest
from bookshop import Node, TestSettings, accountant, journal
from reading import has_taken, taken_ids
from relaying import Shop, in_order
from sqlalchemy import delete, insert, select

from chassis import Transaction
from chassis.database.tables import positions
from localservers import NatsServer


@pytest.mark.parametrize("is_running", [True, False], ids=["under a running service", "stopped"])
async def test_events_handled_after_the_backup_are_handled_again(
    is_running: bool, nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    url = new_database("books")
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        async with Node("books", url, nats.url, router=accountant()) as books:
            await shop.sell(range(60))
            await has_taken(books, 60)
            backup = await books.database.transaction(back_up)
            await shop.sell(range(60, 120))
            await has_taken(books, 120)
            if is_running:
                await books.database.transaction(lambda tx: restore(tx, backup))
                # The service notices it by the next event of each lane, or by its safety net.
                await shop.sell(range(120, 160))
                await has_taken(books, 160)
                assert in_order(await taken_ids(books), shop.published)
            else:
                await books.stop()
        if not is_running:
            async with Node("books", url, nats.url, settings=TestSettings()) as other:
                await other.database.transaction(lambda tx: restore(tx, backup))
            async with Node("books", url, nats.url, router=accountant()) as books:
                await has_taken(books, 120)
                assert in_order(await taken_ids(books), shop.published)


def back_up(tx: Transaction) -> dict[str, list[dict[str, object]]]:
    return {
        table.name: [dict(row) for row in tx.session.execute(select(table)).mappings()]
        for table in (positions, journal)
    }


def restore(tx: Transaction, backup: dict[str, list[dict[str, object]]]) -> None:
    for table in (positions, journal):
        tx.session.execute(delete(table))
        tx.session.execute(insert(table), backup[table.name])
