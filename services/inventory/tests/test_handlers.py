"""The handlers of inventory, on both databases and without a broker."""

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from itertools import permutations
from threading import Barrier, Event

import pytest
from sqlalchemy import text
from sqlalchemy.event import listen

from chassis import Reject, Transaction
from chassis.testing import HandlerHarness
from inventory import handlers
from inventory.handlers import ReservationMissing
from inventory.rpc import Inventory
from inventory.shadow import shadow
from shop.inventory.v1 import (
    GetStockLedgerRequest,
    LoadProductsRequest,
    Product,
    StockRejected,
    StockReserved,
)
from shop.money.v1 import Money
from shop.orders.v1 import OrderCancelled, OrderConfirmed, OrderLine, OrderPlaced

pytestmark = [pytest.mark.dialect, pytest.mark.unit]

TOTAL = Money(amount=500, currency="USD")
Stock = tuple[int, int, int]
"""Pieces on hand, reserved and sold."""


@pytest.fixture(autouse=True)
def stock(harness: HandlerHarness) -> None:
    """A stock of 10 milk, 5 bread and 1 tea."""
    products = [
        Product(
            sku=sku,
            name=sku.title(),
            department="GROCERY",
            price=Money(amount=100, currency="USD"),
            stock=pieces,
        )
        for sku, pieces in (("milk", 10), ("bread", 5), ("tea", 1))
    ]
    request = LoadProductsRequest(products=products)
    harness.transact(lambda tx: Inventory().load_products(request, tx))


def placed(order_id: str = "o-1", **quantities: int) -> OrderPlaced:
    return OrderPlaced(
        order_id=order_id,
        customer_id="c-1",
        lines=[OrderLine(sku=sku, quantity=pieces) for sku, pieces in quantities.items()],
        total=TOTAL,
    )


def place(harness: HandlerHarness, order_id: str = "o-1", **quantities: int) -> None:
    harness.handle(placed(order_id, **quantities))


def confirm(harness: HandlerHarness, *order_ids: str) -> None:
    harness.handle(*(OrderConfirmed(order_id=order_id) for order_id in order_ids or ("o-1",)))


def cancel(harness: HandlerHarness, order_id: str = "o-1") -> None:
    harness.handle(OrderCancelled(order_id=order_id))


def ledger(harness: HandlerHarness) -> dict[str, Stock]:
    """Read the ledger two products a page, and return the stock by sku."""
    entries: dict[str, Stock] = {}
    request = GetStockLedgerRequest(limit=2)
    while True:
        page = harness.transact(lambda tx: Inventory().get_stock_ledger(request, tx))
        entries |= {
            entry.sku: (entry.on_hand, entry.reserved, entry.sold) for entry in page.entries
        }
        if not page.next_cursor:
            return entries
        request.cursor = page.next_cursor


def test_an_order_is_reserved_with_all_its_lines(harness: HandlerHarness) -> None:
    place(harness, milk=3, bread=5)
    assert harness.published == [StockReserved(order_id="o-1", customer_id="c-1", total=TOTAL)]
    assert ledger(harness) == {"bread": (0, 5, 0), "milk": (7, 3, 0), "tea": (1, 0, 0)}


def test_an_order_is_rejected_as_a_whole_if_the_stock_of_one_line_is_too_low(
    harness: HandlerHarness,
) -> None:
    place(harness, milk=3, tea=2, sugar=1)
    assert harness.published == [StockRejected(order_id="o-1", skus=["sugar", "tea"])]
    assert ledger(harness) == {"bread": (5, 0, 0), "milk": (10, 0, 0), "tea": (1, 0, 0)}


def test_lines_of_one_product_are_reserved_together(harness: HandlerHarness) -> None:
    lines = [OrderLine(sku="milk", quantity=6), OrderLine(sku="milk", quantity=5)]
    harness.handle(OrderPlaced(order_id="o-1", lines=lines))
    assert harness.published == [StockRejected(order_id="o-1", skus=["milk"])]


def test_an_order_is_reserved_once(harness: HandlerHarness) -> None:
    place(harness, milk=3)
    place(harness, milk=3)
    assert len(harness.published) == 1
    assert ledger(harness)["milk"] == (7, 3, 0)


def test_a_confirmed_order_is_sold(harness: HandlerHarness) -> None:
    place(harness, milk=3)
    confirm(harness)
    confirm(harness)
    assert ledger(harness)["milk"] == (7, 0, 3)


def test_several_orders_are_sold_in_one_batch(harness: HandlerHarness) -> None:
    place(harness, "o-1", milk=3)
    place(harness, "o-2", milk=2, bread=1)
    confirm(harness, "o-1", "o-2")
    assert ledger(harness) == {"bread": (4, 0, 1), "milk": (5, 0, 5), "tea": (1, 0, 0)}


def test_a_cancelled_orders_stock_is_released_once(harness: HandlerHarness) -> None:
    place(harness, milk=3, tea=1)
    cancel(harness)
    cancel(harness)
    assert ledger(harness) == {"bread": (5, 0, 0), "milk": (10, 0, 0), "tea": (1, 0, 0)}
    assert len(harness.published) == 1


def test_a_rejected_order_has_nothing_to_release(harness: HandlerHarness) -> None:
    place(harness, tea=2)
    cancel(harness)
    assert ledger(harness)["tea"] == (1, 0, 0)


def test_an_order_cancelled_before_its_reservation_is_never_reserved(
    harness: HandlerHarness,
) -> None:
    cancel(harness)
    place(harness, milk=3)
    assert harness.published == []
    assert ledger(harness)["milk"] == (10, 0, 0)


@pytest.mark.parametrize("order", sorted(set(permutations(["place", "place", "cancel", "cancel"]))))
def test_a_cancelled_order_reserves_nothing_in_any_order_of_its_events(
    harness: HandlerHarness, order: tuple[str, ...]
) -> None:
    for event in order:
        if event == "place":
            place(harness, milk=3)
        else:
            cancel(harness)
    assert ledger(harness)["milk"] == (10, 0, 0)


def test_an_order_confirmed_before_it_was_reserved_is_tried_again(harness: HandlerHarness) -> None:
    place(harness, "o-2", milk=1)
    with pytest.raises(ReservationMissing):
        confirm(harness, "o-1", "o-2")
    assert ledger(harness)["milk"] == (9, 1, 0)


def test_a_confirmation_of_a_rejected_order_is_rejected(harness: HandlerHarness) -> None:
    place(harness, tea=2)
    with pytest.raises(Reject):
        confirm(harness)


@pytest.mark.parametrize(
    "lines",
    [
        [],
        [OrderLine(sku="milk")],
        [OrderLine(sku="\x00", quantity=1)],
        [OrderLine(sku="milk", quantity=2**31 - 1), OrderLine(sku="milk", quantity=2**31 - 1)],
    ],
)
def test_an_order_with_invalid_lines_is_rejected(
    harness: HandlerHarness, lines: list[OrderLine]
) -> None:
    with pytest.raises(Reject):
        harness.handle(OrderPlaced(order_id="o-1", lines=lines))


@pytest.mark.parametrize("order_id", ["o" * 65, "a b"])
def test_a_malformed_order_id_is_rejected(harness: HandlerHarness, order_id: str) -> None:
    for handle in (partial(place, milk=1), confirm, cancel):
        with pytest.raises(Reject):
            handle(harness, order_id)


def test_the_last_piece_is_reserved_once_by_concurrent_orders(
    harness: HandlerHarness,
) -> None:
    ready = Barrier(4)

    def reserve(number: int) -> None:
        ready.wait()
        order = placed(f"o-{number}", tea=1, milk=1)
        harness.transact(lambda tx: handlers.reserve_stock(order, tx))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(reserve, range(4)))
    answers = [type(message) for message in harness.published]
    assert sorted(answers, key=str) == [StockRejected] * 3 + [StockReserved]
    assert ledger(harness) == {"bread": (5, 0, 0), "milk": (9, 1, 0), "tea": (0, 1, 0)}


def test_concurrent_orders_for_the_same_products_all_succeed(harness: HandlerHarness) -> None:
    def reserve(number: int) -> None:
        names = ("milk", "bread") if number % 2 else ("bread", "milk")
        order = placed(f"o-{number}", **dict.fromkeys(names, 1))
        harness.transact(lambda tx: handlers.reserve_stock(order, tx))
        cancelled = OrderCancelled(order_id=order.order_id)
        harness.transact(lambda tx: handlers.release_stock(cancelled, tx))

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(reserve, range(24)))
    assert len(harness.published) == 24
    assert ledger(harness) == {"bread": (5, 0, 0), "milk": (10, 0, 0), "tea": (1, 0, 0)}


def test_transactions_for_the_same_products_in_opposite_order_do_not_deadlock(
    harness: HandlerHarness,
) -> None:
    first_holds_lock = Event()
    started: list[str] = []
    reserved: list[str] = []
    is_blocking = watch_blocked_transactions(harness)

    def batch(*skus: str) -> None:
        def work(tx: Transaction) -> None:
            started.append(skus[0])
            for sku in skus:
                handlers.reserve_stock(placed(f"{skus[0]}-{sku}", **{sku: 1}), tx)
                reserved.append(sku)
                if reserved == ["milk"]:
                    first_holds_lock.set()
                    eventually(lambda: is_blocking(tx) or len(reserved) > 1)

        harness.transact(work)

    with ThreadPoolExecutor(2) as pool:
        first = pool.submit(batch, "milk", "bread")
        assert first_holds_lock.wait(60)
        second = pool.submit(batch, "bread", "milk")
        first.result()
        second.result()
    assert reserved == ["milk", "bread", "bread", "milk"]
    # After a deadlock, a transaction would have been run a second time.
    assert started == ["milk", "bread"]
    assert ledger(harness) == {"bread": (3, 2, 0), "milk": (8, 2, 0), "tea": (1, 0, 0)}


def watch_blocked_transactions(harness: HandlerHarness) -> Callable[[Transaction], bool]:
    """Return a function that tells whether a transaction blocks another one."""
    if harness.database.sqlite:
        beginning: list[object] = []
        listen(harness.database.engine, "begin", beginning.append)

        return lambda tx: len(beginning) == 2
    waiting = text(
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
        "WHERE datname = current_database() AND NOT granted"
    )
    return lambda tx: bool(tx.session.scalar(waiting))


def eventually(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < ends_at, "not within 30 s"
        time.sleep(0.01)


def test_a_shadow_begins_with_the_stock_that_was_there_before_any_reservation(
    harness: HandlerHarness,
) -> None:
    place(harness, "sold", milk=4, bread=5)
    confirm(harness, "sold")
    place(harness, "reserved", milk=3)
    place(harness, "released", tea=1)
    cancel(harness, "released")
    (statement,) = shadow.copies.values()
    assert statement is not None
    with harness.session() as session:
        rows = {row["sku"]: dict(row) for row in session.execute(statement).mappings()}
    assert {sku: row["on_hand"] for sku, row in rows.items()} == {"milk": 10, "bread": 5, "tea": 1}
    assert (rows["tea"]["name"], rows["tea"]["price"]) == ("Tea", 100)
