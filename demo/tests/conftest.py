"""A shop in which all laws hold. Tests break one thing in it at a time."""

import sys
from pathlib import Path

import pytest

from demo.catalog import Catalog
from demo.data import Basket, Line, Product
from demo.ledgers import EventEntry, Ledgers, OrderEntry, PaymentEntry, StockEntry
from demo.record import PlacedOrder, Record

sys.path.append(str(Path(__file__).parents[2] / "platform/chassis/tests/parts"))


@pytest.fixture
def catalog() -> Catalog:
    return Catalog(
        products={
            "apples": Product("apples", "Apples", "Produce", price_cents=100),
            "bread": Product("bread", "Bread", "Bakery", price_cents=250),
        },
        stock={"apples": 10, "bread": 2},
    )


@pytest.fixture
def record() -> Record:
    return Record(
        sent=4,
        placed=[
            PlacedOrder("sold", Basket("1", "7", (Line("apples", 3),)), 300),
            PlacedOrder("short", Basket("2", "7", (Line("bread", 5),)), 1250),
            PlacedOrder("late", Basket("3", "8", (Line("apples", 1), Line("bread", 1))), 350),
            PlacedOrder("declined", Basket("4", "9", (Line("bread", 1),)), 250),
        ],
        seconds=2.0,
    )


@pytest.fixture
def ledgers() -> Ledgers:
    return Ledgers(
        orders={
            "sold": OrderEntry("confirmed", None, 300, seconds=0.1, endings=1),
            "short": OrderEntry("cancelled", "out_of_stock", 1250, seconds=0.2, endings=1),
            "late": OrderEntry("cancelled", "timed_out", 350, seconds=0.4, endings=1),
            "declined": OrderEntry("cancelled", "payment_declined", 250, seconds=0.3, endings=1),
        },
        stock={"apples": StockEntry(7, 0, 3), "bread": StockEntry(2, 0, 0)},
        # The payment of the late order was refunded.
        payments={
            "sold": PaymentEntry(300, 0),
            "late": PaymentEntry(350, 350),
            "declined": PaymentEntry(0, 0),
        },
        notifications={"sold": 1, "short": 1, "late": 1, "declined": 1},
        events={
            service: EventEntry(0, 0, 0, 0)
            for service in ("orders", "inventory", "payments", "notifications")
        },
    )
