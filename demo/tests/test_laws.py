"""Each law holds in a correct shop, and is broken by the faults that it must find."""

from dataclasses import replace
from typing import Any

import pytest

from demo.catalog import Catalog
from demo.data import Basket, Line
from demo.laws import Law, check
from demo.ledgers import EventEntry, Ledgers, OrderEntry, PaymentEntry, StockEntry
from demo.record import PlacedOrder, Record, Refusal

pytestmark = pytest.mark.unit

ONE_ORDER = "every basket is one order"
ENDS_ONCE = "every order ends once"
PRICES = "every order costs what its lines cost"
PIECES = "no piece is lost"
SOLD = "every confirmed piece is sold"
MONEY = "no cent is lost"
NOTIFIED = "one notification per order"
NOTHING_LEFT = "nothing is left behind"


def broken(laws: list[Law]) -> dict[str, tuple[str, ...]]:
    return {law.name: law.broken for law in laws if not law.holds}


class TestCorrectShop:
    def test_every_law_holds_and_shows_the_compared_figures(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        laws = check(record, ledgers, catalog)
        assert broken(laws) == {}
        assert {law.name: law.compared for law in laws} == {
            ONE_ORDER: "4 baskets = 4 answers 202 = 4 orders",
            ENDS_ONCE: "4 placed = 1 confirmed + 3 cancelled = 4 terminal events",
            PRICES: "$21.50 by the catalog = $21.50 answered = $21.50 stored",
            PIECES: "12 pieces of 2 products = 9 on hand + 0 reserved + 3 sold",
            SOLD: "3 pieces sold = 3 in 1 confirmed baskets",
            MONEY: "$6.50 captured − $3.50 refunded = $3.00 in confirmed baskets",
            NOTIFIED: "4 notifications = 4 orders",
            NOTHING_LEFT: "0 unsent, 0 lag, 0 tasks, 0 dead letters, 0 stopped, over 4 services",
        }

    def test_every_law_holds_without_any_order(self) -> None:
        empty = {
            service: EventEntry(0, 0, 0, 0)
            for service in ("orders", "inventory", "payments", "notifications")
        }
        assert broken(check(Record(), Ledgers({}, {}, {}, {}, empty), Catalog({}, {}))) == {}


class TestOrders:
    def test_an_accepted_order_that_is_missing_in_the_ledger(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        orders = without(ledgers.orders, "declined")
        found = broken(check(record, replace(ledgers, orders=orders), catalog))
        assert found[ONE_ORDER] == ("order declined is missing in the ledger",)
        assert ENDS_ONCE in found

    def test_an_order_in_the_ledger_that_was_never_placed(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        # A basket that was sent again could have been placed twice.
        again = OrderEntry("cancelled", "out_of_stock", 300, 0.1, 1)
        orders = {**ledgers.orders, "sold-again": again}
        found = broken(check(record, replace(ledgers, orders=orders), catalog))
        assert found[ONE_ORDER] == ("order sold-again was never placed",)

    def test_an_order_that_was_returned_for_two_baskets(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        record.placed[3] = replace(record.placed[3], order_id="sold", total=250)
        found = broken(check(record, ledgers, catalog))
        assert "order sold was returned for 2 baskets" in found[ONE_ORDER]

    def test_a_basket_that_was_placed_twice(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        record.placed[3] = PlacedOrder("declined", record.placed[0].basket, 300)
        found = broken(check(record, ledgers, catalog))
        assert found[ONE_ORDER] == ("basket 1 was placed 2 times",)

    def test_a_basket_that_was_refused(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        record.sent += 1
        record.refused.append(Refusal(Basket("5", "9", (Line("bread", 1),)), 422, "no"))
        found = broken(check(record, ledgers, catalog))
        assert found == {ONE_ORDER: ("basket 5 was refused: 422 no",)}

    def test_a_basket_without_an_answer(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        record.sent += 1
        found = broken(check(record, ledgers, catalog))
        assert found == {ONE_ORDER: ("1 baskets got no answer",)}

    @pytest.mark.parametrize(
        ("entry", "case"),
        [
            (OrderEntry("pending", None, 1250, None, 0), "order short is pending"),
            (
                OrderEntry("cancelled", "out_of_stock", 1250, 0.2, 0),
                "order short is cancelled with 0 endings",
            ),
            (
                OrderEntry("cancelled", "out_of_stock", 1250, 0.2, 2),
                "order short is cancelled with 2 endings",
            ),
            (
                OrderEntry("pending", None, 1250, None, 1),
                "order short is pending with 1 endings",
            ),
            (
                OrderEntry("cancelled", None, 1250, 0.2, 1),
                "order short is cancelled, its reason is None",
            ),
        ],
    )
    def test_an_order_that_has_not_ended_exactly_once(
        self, record: Record, ledgers: Ledgers, catalog: Catalog, entry: OrderEntry, case: str
    ) -> None:
        orders = {**ledgers.orders, "short": entry}
        found = broken(check(record, replace(ledgers, orders=orders), catalog))
        assert case in found.pop(ENDS_ONCE)
        assert found == {}

    def test_an_order_that_was_answered_or_stored_with_another_total(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        changed = {**ledgers.orders, "short": replace(ledgers.orders["short"], total=1)}
        found = broken(check(record, replace(ledgers, orders=changed), catalog))
        assert found == {
            PRICES: ("order short costs $12.50, $12.50 was answered, $0.01 is stored",)
        }
        record.placed[1] = replace(record.placed[1], total=2)
        found = broken(check(record, ledgers, catalog))
        assert found == {
            PRICES: ("order short costs $12.50, $0.02 was answered, $12.50 is stored",)
        }


class TestStock:
    @pytest.mark.parametrize("entry", [StockEntry(1, 0, 0), StockEntry(3, 0, 0)])
    def test_a_piece_too_few_or_too_many(
        self, record: Record, ledgers: Ledgers, catalog: Catalog, entry: StockEntry
    ) -> None:
        stock = {**ledgers.stock, "bread": entry}
        found = broken(check(record, replace(ledgers, stock=stock), catalog))
        assert found == {
            PIECES: (
                f"product bread: 2 at the start, now {entry.on_hand} on hand + 0 reserved + 0 sold",
            )
        }

    def test_a_piece_that_stays_reserved(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        stock = {**ledgers.stock, "bread": StockEntry(1, 1, 0)}
        found = broken(check(record, replace(ledgers, stock=stock), catalog))
        assert found == {PIECES: ("product bread: 1 are still reserved",)}

    def test_a_loss_of_one_product_is_not_balanced_by_another(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        stock = {"apples": StockEntry(6, 0, 3), "bread": StockEntry(3, 0, 0)}
        found = broken(check(record, replace(ledgers, stock=stock), catalog))
        assert len(found[PIECES]) == 2

    def test_a_negative_stock(self, record: Record, ledgers: Ledgers, catalog: Catalog) -> None:
        stock = {**ledgers.stock, "bread": StockEntry(-1, 0, 3)}
        found = broken(check(record, replace(ledgers, stock=stock), catalog))
        assert found[PIECES] == ("product bread: -1 on hand, 3 sold",)

    def test_a_missing_and_an_unknown_product(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        stock = without(ledgers.stock, "bread") | {"cheese": StockEntry(0, 0, 0)}
        found = broken(check(record, replace(ledgers, stock=stock), catalog))
        assert found == {
            PIECES: ("product bread is missing in the ledger", "product cheese is in no catalog")
        }

    def test_a_sale_without_a_confirmed_basket(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        # The pieces belong to a cancelled order, so that the sum of each product is correct.
        stock = {**ledgers.stock, "bread": StockEntry(1, 0, 1)}
        found = broken(check(record, replace(ledgers, stock=stock), catalog))
        assert found == {SOLD: ("product bread: 0 confirmed, 1 sold",)}

    def test_a_confirmed_basket_that_was_not_sold(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        stock = {**ledgers.stock, "apples": StockEntry(10, 0, 0)}
        found = broken(check(record, replace(ledgers, stock=stock), catalog))
        assert found == {SOLD: ("product apples: 3 confirmed, 0 sold",)}


class TestMoney:
    @pytest.mark.parametrize(
        ("order", "entry", "case"),
        [
            ("sold", PaymentEntry(0, 0), "$0.00 captured − $0.00 refunded, $3.00 due"),
            ("sold", PaymentEntry(600, 0), "$6.00 captured − $0.00 refunded, $3.00 due"),
            ("sold", PaymentEntry(300, 300), "$3.00 captured − $3.00 refunded, $3.00 due"),
            ("late", PaymentEntry(350, 0), "$3.50 captured − $0.00 refunded, $0.00 due"),
            ("late", PaymentEntry(350, 700), "$3.50 captured − $7.00 refunded, $0.00 due"),
            ("declined", PaymentEntry(250, 0), "$2.50 captured − $0.00 refunded, $0.00 due"),
        ],
    )
    def test_a_payment_of_another_amount_or_without_its_refund(
        self,
        record: Record,
        ledgers: Ledgers,
        catalog: Catalog,
        order: str,
        entry: PaymentEntry,
        case: str,
    ) -> None:
        payments = {**ledgers.payments, order: entry}
        found = broken(check(record, replace(ledgers, payments=payments), catalog))
        assert found == {MONEY: (f"order {order}: {case}",)}

    def test_a_confirmed_order_without_a_payment(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        payments = without(ledgers.payments, "sold")
        found = broken(check(record, replace(ledgers, payments=payments), catalog))
        assert list(found) == [MONEY]

    def test_two_errors_that_balance_each_other(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        payments = {**ledgers.payments, "sold": PaymentEntry(0, 0), "late": PaymentEntry(300, 0)}
        found = broken(check(record, replace(ledgers, payments=payments), catalog))
        assert len(found[MONEY]) == 2

    def test_a_payment_without_an_order(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        payments = {**ledgers.payments, "ghost": PaymentEntry(1, 1)}
        found = broken(check(record, replace(ledgers, payments=payments), catalog))
        assert found == {MONEY: ("order ghost was paid for and never placed",)}


class TestNotifications:
    @pytest.mark.parametrize("count", [0, 2])
    def test_no_or_two_notifications_of_an_order(
        self, record: Record, ledgers: Ledgers, catalog: Catalog, count: int
    ) -> None:
        notifications = {**ledgers.notifications, "late": count}
        found = broken(check(record, replace(ledgers, notifications=notifications), catalog))
        assert found == {NOTIFIED: (f"order late got {count} notifications",)}

    def test_a_notification_without_an_order(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        notifications = {**ledgers.notifications, "ghost": 1}
        found = broken(check(record, replace(ledgers, notifications=notifications), catalog))
        assert found == {NOTIFIED: ("order ghost was never placed and got a notification",)}


class TestEventPath:
    @pytest.mark.parametrize(
        ("entry", "case"),
        [
            (EventEntry(1, 0, 0, 0), "payments: 1 unsent events"),
            (EventEntry(0, 2, 0, 0), "payments: 2 events not handled"),
            (EventEntry(0, 0, 3, 0), "payments: 3 open tasks"),
            (EventEntry(0, 0, 0, 4), "payments: 4 dead letters"),
            (EventEntry(0, 0, 0, 0, ("a.7: gap",)), "payments: stopped at a.7: gap"),
        ],
    )
    def test_work_that_is_left_behind(
        self, record: Record, ledgers: Ledgers, catalog: Catalog, entry: EventEntry, case: str
    ) -> None:
        events = {**ledgers.events, "payments": entry}
        found = broken(check(record, replace(ledgers, events=events), catalog))
        assert found == {NOTHING_LEFT: (case,)}

    def test_an_expected_dead_letter_must_exist(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        events = {**ledgers.events, "payments": EventEntry(0, 0, 0, 1)}
        expected = {"payments": 1}
        present = check(record, replace(ledgers, events=events), catalog, dead_letters=expected)
        assert broken(present) == {}
        missing = check(record, ledgers, catalog, dead_letters=expected)
        assert broken(missing) == {NOTHING_LEFT: ("payments: 0 dead letters instead of 1",)}

    def test_a_missing_event_ledger(
        self, record: Record, ledgers: Ledgers, catalog: Catalog
    ) -> None:
        events = without(ledgers.events, "payments")
        found = broken(check(record, replace(ledgers, events=events), catalog))
        assert found == {NOTHING_LEFT: ("payments: event ledger is missing",)}


def without(entries: Any, key: str) -> Any:
    return {name: entry for name, entry in entries.items() if name != key}
