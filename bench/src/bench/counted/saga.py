"""Takes orders through all services, and counts what their databases do.

Each service has its handlers and a SQLite file, without a broker: events are handed on from outbox
to handler. The relay's own statements are not among them; they are the same for each batch,
whatever it holds.
"""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from google.protobuf.json_format import ParseDict
from google.protobuf.message import Message
from sqlalchemy import Engine, event, func, select

from chassis import Service
from chassis.database import tables
from chassis.testing import HandlerHarness
from inventory.rpc import Inventory
from inventory.service import service as inventory
from notifications.service import service as notifications
from orders.rpc import Orders
from orders.service import service as orders
from payments.service import service as payments
from shop.inventory.v1 import LoadProductsRequest, Product, StockReserved
from shop.money.v1 import Money
from shop.orders.v1 import OrderConfirmed, OrderLine, OrderPlaced, PlaceOrderRequest
from shop.payments.v1 import PaymentAuthorized

__all__ = ["Cost", "count_saga"]

# The harness looks up positions, which the reader of a real service remembers.
_OF_THE_HARNESS = re.compile(r"(?:SELECT .* FROM|INSERT INTO) slipway_position\b")


@dataclass(frozen=True)
class Cost:
    """The cost of a step of all orders: a call or a handler of one service."""

    service: str
    step: str
    statements: int
    commits: int
    events: int
    """Number of events published."""
    bytes: int
    """Bytes of those events, headers and data, in the outbox."""


class _Counted:
    """A service whose statements and commits are counted."""

    def __init__(self, service: Service) -> None:
        self.name = service.name
        self.harness = HandlerHarness.of(service)
        self._transactions: list[list[str]] = []
        self._watch(self.harness.database.engine)

    def _watch(self, engine: Engine) -> None:
        statements: list[str] = []

        def execute(*arguments: Any) -> None:
            statements.append(" ".join(arguments[2].split()))

        def commit(_connection: object) -> None:
            self._transactions.append(statements.copy())
            statements.clear()

        event.listen(engine, "before_cursor_execute", execute)
        event.listen(engine, "commit", commit)

    def call(self, step: str, work: Callable[[], object]) -> Cost:
        """Run calls of an RPC and return their cost."""
        return self._count(step, work, lambda _transaction: True)

    def handle(self, messages: Sequence[Message]) -> Cost:
        """Handle the messages as one batch, and return its cost."""
        # The harness looks for tasks in a transaction of its own, which a service without
        # `async def` handlers does not.
        return self._count(
            type(messages[0]).__name__,
            lambda: self.harness.handle(*messages),
            lambda transaction: any("UPDATE slipway_position" in s for s in transaction),
        )

    def _count(
        self, step: str, work: Callable[[], object], counts: Callable[[Sequence[str]], bool]
    ) -> Cost:
        events, size = self._published()
        self._transactions.clear()
        work()
        transactions = [t for t in self._transactions if counts(t)]
        statements = [s for t in transactions for s in t if _is_of_the_service(s)]
        now, now_size = self._published()
        return Cost(
            self.name, step, len(statements), len(transactions), now - events, now_size - size
        )

    def _published(self) -> tuple[int, int]:
        """Return the number of events in the outbox, and their bytes."""
        of = tables.outbox.c
        size = func.coalesce(func.sum(func.length(of.headers) + func.length(of.data)), 0)
        with self.harness.session() as session:
            count, total = session.execute(select(func.count(), size)).one()
        return count, total


def _is_of_the_service(statement: str) -> bool:
    return not (statement.startswith("BEGIN") or _OF_THE_HARNESS.match(statement))


@contextmanager
def _all(*services: Service) -> Iterator[list[_Counted]]:
    counted = [_Counted(service) for service in services]
    try:
        yield counted
    finally:
        for each in counted:
            each.harness.close()


def count_saga(placed: Sequence[Mapping[str, Any]]) -> list[Cost]:
    """Return the cost of each step of these orders, which all are confirmed.

    Each order is placed by a call of its own. All events of a type are handled as one batch.
    """
    with _all(orders, inventory, payments, notifications) as (ours, stock, pay, notify):
        stock.harness.transact(lambda tx: Inventory().load_products(_products(placed), tx))
        requests = [_request(order) for order in placed]

        def place() -> None:
            for request in requests:
                ours.harness.transact(lambda tx, r=request: Orders().place_order(r, tx))  # type: ignore[misc]

        costs = [ours.call("PlaceOrder", place)]
        costs.append(stock.handle(_of(OrderPlaced, ours)))
        reserved = _of(StockReserved, stock)
        costs += [ours.handle(reserved), pay.handle(reserved)]
        costs.append(ours.handle(_of(PaymentAuthorized, pay)))
        confirmed = _of(OrderConfirmed, ours)
        costs += [stock.handle(confirmed), notify.handle(confirmed)]
        assert len(confirmed) == len(placed), "an order was not confirmed"
    return costs


def _of(kind: type[Message], service: _Counted) -> list[Message]:
    """Return the events of a type that a service has published."""
    return [message for message in service.harness.published if isinstance(message, kind)]


def _request(order: Mapping[str, Any]) -> PlaceOrderRequest:
    lines = [ParseDict(line, OrderLine()) for line in order["lines"]]
    return PlaceOrderRequest(
        order_id=order["order_id"],
        customer_id=order["customer_id"],
        lines=lines,
        idempotency_key=order["order_id"],
    )


def _products(placed: Sequence[Mapping[str, Any]]) -> LoadProductsRequest:
    """Return all products of the orders, with enough pieces."""
    prices = {line["sku"]: line["price"] for order in placed for line in order["lines"]}
    return LoadProductsRequest(
        products=[
            Product(
                sku=sku,
                name=f"product {sku}",
                department="Grocery",
                price=ParseDict(price, Money()),
                stock=1_000_000,
            )
            for sku, price in prices.items()
        ]
    )
