"""A platform that held orders: the laws speak of what was added, and what was there stays."""

from dataclasses import replace

from demo.catalog import Catalog
from demo.laws import check
from demo.ledgers import EventEntry, Ledgers, OrderEntry, PaymentEntry, StockEntry
from demo.replay import Record
from demo.since import added, catalog_before, kept

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
    """What `ledgers` says of the replay, on top of what was before."""
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
    return [case for law in (*laws, kept(now, BEFORE)) for case in law.broken]


def test_what_was_there_before_breaks_no_law(
    record: Record, ledgers: Ledgers, catalog: Catalog
) -> None:
    assert broken(record, after(ledgers), catalog) == []


def test_a_piece_that_is_gone_is_named(record: Record, ledgers: Ledgers, catalog: Catalog) -> None:
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


def test_an_order_of_somebody_else_was_never_placed(
    record: Record, ledgers: Ledgers, catalog: Catalog
) -> None:
    now = after(ledgers)
    orders = {**now.orders, "theirs": BEFORE.orders["old"]}
    assert "order theirs was never placed" in broken(record, replace(now, orders=orders), catalog)


def test_what_was_there_is_named_when_it_is_gone_or_another() -> None:
    assert kept(BEFORE, BEFORE).holds
    now = replace(BEFORE, orders={}, notifications={"old": 2})
    assert kept(now, BEFORE).broken == (
        "order old is gone",
        "notifications of order old has changed",
    )
