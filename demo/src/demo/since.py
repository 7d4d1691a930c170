"""What a replay has added to a platform that held orders before.

before = await read_ledgers(platform)
record = await replay(…)
now = await read_ledgers(platform)
laws = check(record, added(now, before), catalog_before(catalog, before))
"""

from collections.abc import Mapping
from dataclasses import replace
from typing import TypeVar

from demo.catalog import Catalog
from demo.laws import Law
from demo.ledgers import Ledgers, StockEntry

__all__ = ["added", "catalog_before", "kept"]

T = TypeVar("T")


def added(now: Ledgers, before: Ledgers) -> Ledgers:
    """The ledgers of what was added since: new entries, and pieces sold. Events are as they are."""
    return replace(
        now,
        orders=_new(now.orders, before.orders),
        payments=_new(now.payments, before.payments),
        notifications=_new(now.notifications, before.notifications),
        stock={
            sku: replace(entry, sold=entry.sold - before.stock.get(sku, _NO_STOCK).sold)
            for sku, entry in now.stock.items()
        },
    )


def catalog_before(catalog: Catalog, before: Ledgers) -> Catalog:
    """The catalog with the pieces that were on the shelf before the first order of the replay.

    A product that inventory knew keeps its stock when the catalog is loaded; others are new to it.
    """
    known = {sku: entry.on_hand + entry.reserved for sku, entry in before.stock.items()}
    return replace(catalog, stock={**catalog.stock, **known})


def kept(now: Ledgers, before: Ledgers) -> Law:
    """What had ended before stays as it was."""
    broken = []
    for what, entries, entries_before in (
        ("order", now.orders, before.orders),
        ("payment of order", now.payments, before.payments),
        ("notifications of order", now.notifications, before.notifications),
    ):
        gone = entries_before.keys() - entries.keys()
        broken += [f"{what} {key} is gone" for key in sorted(gone)]
        changed = _changed(entries, entries_before)
        broken += [f"{what} {key} has changed" for key in sorted(changed)]
    same = len(before.orders.keys() & now.orders.keys())
    return Law(
        "what was there stays",
        f"{len(before.orders):,} orders before the replay = {same:,} after it",
        tuple(broken),
    )


_NO_STOCK = StockEntry(0, 0, 0)


def _new(now: Mapping[str, T], before: Mapping[str, T]) -> dict[str, T]:
    return {key: entry for key, entry in now.items() if key not in before}


def _changed(now: Mapping[str, T], before: Mapping[str, T]) -> set[str]:
    return {key for key, entry in before.items() if key in now and now[key] != entry}
