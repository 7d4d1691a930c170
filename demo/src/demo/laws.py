"""The conservation laws: pure functions of the replay's record, the ledgers and the catalog.

Each law compares what must have happened, by record and catalog, with what did, by the ledgers. The
expected side of a comparison never comes from a service.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from demo.catalog import Catalog, dollars
from demo.data import Basket
from demo.ledgers import EventEntry, Ledgers, OrderEntry, PaymentEntry
from demo.record import Record

__all__ = ["LEDGER_SERVICES", "Law", "check"]

_NO_ORDER = OrderEntry("pending", None, 0, None, 0)
LEDGER_SERVICES = ("orders", "inventory", "payments", "notifications")
"""The services whose ledgers the laws compare. Other services must only have no open events."""


@dataclass(frozen=True, slots=True)
class Law:
    """A law, the compared figures, and each case that breaks it."""

    name: str
    compared: str
    broken: tuple[str, ...]

    @property
    def holds(self) -> bool:
        return not self.broken


def check(
    record: Record,
    ledgers: Ledgers,
    catalog: Catalog,
    *,
    dead_letters: Mapping[str, int] | None = None,
) -> list[Law]:
    """Check every law. All orders must have ended.

    `dead_letters` are the expected numbers of dead letters by service, for tests that cause some.
    """
    orders = {placed.order_id: placed.basket for placed in record.placed}
    confirmed = {
        order_id: basket
        for order_id, basket in orders.items()
        if ledgers.orders.get(order_id, _NO_ORDER).status == "confirmed"
    }
    return [
        _every_basket_is_one_order(record, ledgers),
        _every_order_ends_once(orders, ledgers),
        _totals_match_the_catalog(record, ledgers, catalog),
        _stock_is_conserved(ledgers, catalog),
        _confirmed_pieces_are_sold(confirmed, ledgers),
        _money_is_conserved(orders, confirmed, ledgers, catalog),
        _one_notification_per_order(orders, ledgers),
        _nothing_is_left_behind(ledgers, dead_letters or {}),
    ]


def _every_basket_is_one_order(record: Record, ledgers: Ledgers) -> Law:
    placed = {order.order_id for order in record.placed}
    baskets = Counter(order.basket.basket_id for order in record.placed)
    orders = Counter(order.order_id for order in record.placed)
    broken = [
        f"basket {refusal.basket.basket_id} was refused: {refusal.status} {refusal.detail}"
        for refusal in record.refused
    ]
    unanswered = record.sent - len(record.placed) - len(record.refused)
    if unanswered:
        broken.append(f"{unanswered} baskets got no answer")
    broken += [f"basket {key} was placed {n} times" for key, n in baskets.items() if n > 1]
    broken += [f"order {key} was returned for {n} baskets" for key, n in orders.items() if n > 1]
    broken += [
        f"order {key} is missing in the ledger" for key in _missing_in(placed, ledgers.orders)
    ]
    broken += [f"order {key} was never placed" for key in _missing_in(ledgers.orders, placed)]
    return Law(
        "every basket is one order",
        f"{record.sent:,} baskets = {len(record.placed):,} answers 202 "
        f"= {len(ledgers.orders):,} orders",
        tuple(broken),
    )


def _every_order_ends_once(orders: Mapping[str, Basket], ledgers: Ledgers) -> Law:
    statuses = Counter(entry.status for entry in ledgers.orders.values())
    endings = sum(entry.endings for entry in ledgers.orders.values())
    broken = []
    for order_id, entry in ledgers.orders.items():
        if entry.status == "pending":
            broken.append(f"order {order_id} is pending")
        if entry.endings != (entry.status != "pending"):
            broken.append(f"order {order_id} is {entry.status} with {entry.endings} endings")
        if (entry.reason is not None) != (entry.status == "cancelled"):
            broken.append(f"order {order_id} is {entry.status}, its reason is {entry.reason}")
    ended = statuses["confirmed"] + statuses["cancelled"]
    if ended != len(orders) and not broken:
        broken.append(f"{len(orders):,} orders were placed, {ended:,} have ended")
    return Law(
        "every order ends once",
        f"{len(orders):,} placed = {statuses['confirmed']:,} confirmed "
        f"+ {statuses['cancelled']:,} cancelled = {endings:,} terminal events",
        tuple(broken),
    )


def _totals_match_the_catalog(record: Record, ledgers: Ledgers, catalog: Catalog) -> Law:
    expected = answered = stored = 0
    broken = []
    for order in record.placed:
        total = catalog.total(order.basket)
        entry = ledgers.orders.get(order.order_id, _NO_ORDER)
        expected, answered, stored = (
            expected + total,
            answered + order.total,
            stored + entry.total,
        )
        if not total == order.total == entry.total:
            broken.append(
                f"order {order.order_id} costs {dollars(total)}, "
                f"{dollars(order.total)} was answered, {dollars(entry.total)} is stored"
            )
    return Law(
        "every order costs what its lines cost",
        f"{dollars(expected)} by the catalog = {dollars(answered)} answered "
        f"= {dollars(stored)} stored",
        tuple(broken),
    )


def _stock_is_conserved(ledgers: Ledgers, catalog: Catalog) -> Law:
    broken = []
    for sku in sorted(catalog.stock.keys() | ledgers.stock.keys()):
        initial = catalog.stock.get(sku)
        entry = ledgers.stock.get(sku)
        if initial is None:
            broken.append(f"product {sku} is in no catalog")
        elif entry is None:
            broken.append(f"product {sku} is missing in the ledger")
        elif initial != entry.on_hand + entry.reserved + entry.sold:
            broken.append(
                f"product {sku}: {initial} at the start, now {entry.on_hand} on hand "
                f"+ {entry.reserved} reserved + {entry.sold} sold"
            )
        elif entry.reserved:
            broken.append(f"product {sku}: {entry.reserved} are still reserved")
        elif min(entry.on_hand, entry.sold) < 0:
            broken.append(f"product {sku}: {entry.on_hand} on hand, {entry.sold} sold")
    entries = ledgers.stock.values()
    return Law(
        "no piece is lost",
        f"{sum(catalog.stock.values()):,} pieces of {len(catalog.stock):,} products "
        f"= {sum(entry.on_hand for entry in entries):,} on hand "
        f"+ {sum(entry.reserved for entry in entries):,} reserved "
        f"+ {sum(entry.sold for entry in entries):,} sold",
        tuple(broken),
    )


def _confirmed_pieces_are_sold(confirmed: Mapping[str, Basket], ledgers: Ledgers) -> Law:
    ordered: Counter[str] = Counter()
    for basket in confirmed.values():
        for line in basket.lines:
            ordered[line.sku] += line.quantity
    broken = []
    for sku in sorted(ordered.keys() | ledgers.stock.keys()):
        sold = ledgers.stock[sku].sold if sku in ledgers.stock else 0
        if sold != ordered[sku]:
            broken.append(f"product {sku}: {ordered[sku]} confirmed, {sold} sold")
    return Law(
        "every confirmed piece is sold",
        f"{sum(entry.sold for entry in ledgers.stock.values()):,} pieces sold "
        f"= {ordered.total():,} in {len(confirmed):,} confirmed baskets",
        tuple(broken),
    )


def _money_is_conserved(
    orders: Mapping[str, Basket],
    confirmed: Mapping[str, Basket],
    ledgers: Ledgers,
    catalog: Catalog,
) -> Law:
    captured = refunded = due = 0
    broken = []
    for order_id in sorted(orders.keys() | ledgers.payments.keys()):
        paid = ledgers.payments.get(order_id, PaymentEntry(0, 0))
        total = catalog.total(confirmed[order_id]) if order_id in confirmed else 0
        captured, refunded, due = captured + paid.captured, refunded + paid.refunded, due + total
        if order_id not in orders:
            broken.append(f"order {order_id} was paid for and never placed")
        elif paid.captured - paid.refunded != total:
            broken.append(
                f"order {order_id}: {dollars(paid.captured)} captured "
                f"− {dollars(paid.refunded)} refunded, {dollars(total)} due"
            )
    return Law(
        "no cent is lost",
        f"{dollars(captured)} captured − {dollars(refunded)} refunded "
        f"= {dollars(due)} in confirmed baskets",
        tuple(broken),
    )


def _one_notification_per_order(orders: Mapping[str, Basket], ledgers: Ledgers) -> Law:
    broken = [
        f"order {order_id} got {ledgers.notifications.get(order_id, 0)} notifications"
        for order_id in orders
        if ledgers.notifications.get(order_id, 0) != 1
    ]
    broken += [
        f"order {order_id} was never placed and got a notification"
        for order_id in _missing_in(ledgers.notifications, orders)
    ]
    return Law(
        "one notification per order",
        f"{sum(ledgers.notifications.values()):,} notifications = {len(orders):,} orders",
        tuple(broken),
    )


def _nothing_is_left_behind(ledgers: Ledgers, dead_letters: Mapping[str, int]) -> Law:
    broken = []
    for service, entry in sorted(ledgers.events.items()):
        expected = dead_letters.get(service, 0)
        for number, label in (
            (entry.unsent, "unsent events"),
            (entry.lag, "events not handled"),
            (entry.tasks, "open tasks"),
        ):
            if number:
                broken.append(f"{service}: {number} {label}")
        if entry.dead_letters != expected:
            instead = f" instead of {expected}" if expected else ""
            broken.append(f"{service}: {entry.dead_letters} dead letters{instead}")
        broken += [f"{service}: stopped at {stop}" for stop in entry.stopped]
    broken += [
        f"{service}: event ledger is missing"
        for service in _missing_in(LEDGER_SERVICES, ledgers.events)
    ]
    total = _sum_entries(ledgers.events.values())
    return Law(
        "nothing is left behind",
        f"{total.unsent} unsent, {total.lag} lag, {total.tasks} tasks, "
        f"{total.dead_letters} dead letters, {len(total.stopped)} stopped, "
        f"over {len(ledgers.events)} services",
        tuple(broken),
    )


def _sum_entries(entries: Iterable[EventEntry]) -> EventEntry:
    """Return the sums of all figures of the entries."""
    total = EventEntry(0, 0, 0, 0)
    for entry in entries:
        total = EventEntry(
            total.unsent + entry.unsent,
            total.lag + entry.lag,
            total.tasks + entry.tasks,
            total.dead_letters + entry.dead_letters,
            total.stopped + entry.stopped,
        )
    return total


def _missing_in(keys: Iterable[str], others: Iterable[str]) -> list[str]:
    """Return the keys that are missing in `others`, sorted."""
    return sorted(set(keys) - set(others))
