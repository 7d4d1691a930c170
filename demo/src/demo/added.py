"""The part of the ledgers that a replay has added to a platform with earlier orders.

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

__all__ = ["added", "catalog_before", "check_unchanged"]

T = TypeVar("T")


def added(now: Ledgers, before: Ledgers) -> Ledgers:
    """Return ledgers of new entries and newly sold pieces; the event ledgers are those of `now`."""
    return replace(
        now,
        orders=_new_entries(now.orders, before.orders),
        payments=_new_entries(now.payments, before.payments),
        notifications=_new_entries(now.notifications, before.notifications),
        stock={
            sku: replace(entry, sold=entry.sold - before.stock.get(sku, _NO_STOCK).sold)
            for sku, entry in now.stock.items()
        },
    )


def catalog_before(catalog: Catalog, before: Ledgers) -> Catalog:
    """Return the catalog with the stock before the first order of the replay.

    A product that inventory has keeps its stock when the catalog is loaded.
    """
    existing = {sku: entry.on_hand + entry.reserved for sku, entry in before.stock.items()}
    return replace(catalog, stock={**catalog.stock, **existing})


def check_unchanged(now: Ledgers, before: Ledgers) -> Law:
    """Check the law that the entries of earlier orders are unchanged."""
    broken = []
    for label, entries, entries_before in (
        ("order", now.orders, before.orders),
        ("payment of order", now.payments, before.payments),
        ("notifications of order", now.notifications, before.notifications),
    ):
        missing = entries_before.keys() - entries.keys()
        broken += [f"{label} {key} is missing" for key in sorted(missing)]
        changed = _changed_keys(entries, entries_before)
        broken += [f"{label} {key} has changed" for key in sorted(changed)]
    remaining = len(before.orders.keys() & now.orders.keys())
    return Law(
        "earlier orders are unchanged",
        f"{len(before.orders):,} orders before the replay = {remaining:,} after it",
        tuple(broken),
    )


_NO_STOCK = StockEntry(0, 0, 0)


def _new_entries(now: Mapping[str, T], before: Mapping[str, T]) -> dict[str, T]:
    """Return the entries that were not there before."""
    return {key: entry for key, entry in now.items() if key not in before}


def _changed_keys(now: Mapping[str, T], before: Mapping[str, T]) -> set[str]:
    """Return the keys whose entries differ from those before."""
    return {key for key, entry in before.items() if key in now and now[key] != entry}
