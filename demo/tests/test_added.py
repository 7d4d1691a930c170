"""Laws on a platform with earlier orders: they are checked for what a replay has added."""

from dataclasses import replace

import pytest

from demo.added import added, catalog_before, check_unchanged
from demo.catalog import Catalog
from demo.laws import check
from demo.ledgers import EventEntry, Ledgers, OrderEntry, PaymentEntry, StockEntry
from demo.record import Record

pytestmark = pytest.mark.unit

BEFORE = Ledgers(
    orders={"old": OrderEntry("confirmed", None, 350, seconds=0.1, endings=1)},
    stock={
        "apples": StockEntry(on_hand=10, reserved=0, sold=1),
        "candles": StockEntry(on_hand=4, reserved=0, sold=2),
    },
    payments={"old": PaymentEntry(350, 0)},
    notifications={"old": 1},
    events={"orders": EventEntry(0, 0, 0, dead_letters=1)},
)


def after(ledgers: Ledgers) -> Ledgers:
    """Return the entries of `ledgers` added to those of BEFORE."""
    return Ledgers(
        orders={**BEFORE.orders, **ledgers.orders},
        stock={
            "apples": StockEntry(7, 0, 4),
            "bread": ledgers.stock["bread"],
            "candles": BEFORE.stock["candles"],
        },
        payments={**BEFORE.payments, **ledgers.payments},
        notifications={**BEFORE.notifications, **ledgers.notifications},
        events={**ledgers.events, **BEFORE.events},
    )


def broken(record: Record, now: Ledgers, catalog: Catalog) -> list[str]:
    dead_letters = {name: entry.dead_letters for name, entry in BEFORE.events.items()}
    laws = check(
        record, added(now, BEFORE), catalog_before(catalog, BEFORE), dead_letters=dead_letters
    )
    return [case for law in (*laws, check_unchanged(now, BEFORE)) for case in law.broken]


def test_earlier_entries_break_no_law(record: Record, ledgers: Ledgers, catalog: Catalog) -> None:
    assert broken(record, after(ledgers), catalog) == []


def test_a_missing_piece_is_named(record: Record, ledgers: Ledgers, catalog: Catalog) -> None:
    now = after(ledgers)
    stock = {**now.stock, "candles": StockEntry(3, 0, 2)}
    assert broken(record, replace(now, stock=stock), catalog) == [
        "product candles: 4 at the start, now 3 on hand + 0 reserved + 0 sold"
    ]


def test_a_new_dead_letter_is_named(record: Record, ledgers: Ledgers, catalog: Catalog) -> None:
    now = after(ledgers)
    events = {**now.events, "orders": EventEntry(0, 0, 0, dead_letters=2)}
    assert broken(record, replace(now, events=events), catalog) == [
        "orders: 2 dead letters instead of 1"
    ]


def test_an_order_of_another_client_was_never_placed(
    record: Record, ledgers: Ledgers, catalog: Catalog
) -> None:
    now = after(ledgers)
    orders = {**now.orders, "theirs": BEFORE.orders["old"]}
    assert "order theirs was never placed" in broken(record, replace(now, orders=orders), catalog)


def test_an_earlier_entry_is_named_when_it_is_missing_or_has_changed() -> None:
    assert check_unchanged(BEFORE, BEFORE).holds
    now = replace(BEFORE, orders={}, notifications={"old": 2})
    assert check_unchanged(now, BEFORE).broken == (
        "order old is missing",
        "notifications of order old has changed",
    )
