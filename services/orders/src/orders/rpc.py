"""OrdersService: what others ask of orders."""

import re
from datetime import UTC, datetime, timedelta

from chassis import InvalidArgument, NotFound, ReadTransaction, Transaction
from orders import domain, saga, tables
from orders.domain import Draft, Invalid, Line
from orders.mapping import entry_message, order_message
from shop.orders.v1 import (
    GetOrderRequest,
    GetOrderResponse,
    GetOrdersLedgerRequest,
    GetOrdersLedgerResponse,
    GetPlacedOrderRequest,
    GetPlacedOrderResponse,
    ListOrderEventsRequest,
    ListOrderEventsResponse,
    ListOrdersRequest,
    ListOrdersResponse,
    OrderEvent,
    PlaceOrderRequest,
    PlaceOrderResponse,
)

__all__ = ["Orders"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_CURSOR = re.compile(r"(\d{1,16})\.(.+)", re.ASCII)


class Orders:
    """The service, method by method."""

    def place_order(self, request: PlaceOrderRequest, tx: Transaction) -> PlaceOrderResponse:
        draft = _draft(request)
        placed = saga.place(tx, draft)
        if placed is None:
            placed = tables.find_placed(tx.session, draft)
            if placed.fingerprint != draft.fingerprint:
                field = "order_id" if placed.order_id == draft.order_id else "Idempotency-Key"
                raise _used(field, placed)
        return PlaceOrderResponse(order=order_message(placed))

    def get_placed_order(
        self, request: GetPlacedOrderRequest, tx: ReadTransaction
    ) -> GetPlacedOrderResponse:
        customer_id, key = request.customer_id, request.idempotency_key
        placed = None
        if domain.is_identifier(customer_id) and domain.is_idempotency_key(key):
            placed = tables.find_by_key(tx.session, customer_id, key)
        if placed is None:
            raise NotFound("no order was placed with this key")
        asked = domain.fingerprint(
            customer_id, ((line.sku, line.quantity) for line in request.lines)
        )
        if placed.fingerprint != asked:
            raise _used("Idempotency-Key", placed)
        return GetPlacedOrderResponse(order=order_message(placed))

    def get_order(self, request: GetOrderRequest, tx: ReadTransaction) -> GetOrderResponse:
        order = None
        if domain.is_identifier(request.order_id):
            order = tables.find_order(tx.session, request.order_id)
        if order is None:
            raise NotFound(f"there is no order {request.order_id[:64]!r}")
        return GetOrderResponse(order=order_message(order))

    def list_orders(self, request: ListOrdersRequest, tx: ReadTransaction) -> ListOrdersResponse:
        if request.customer_id and not domain.is_identifier(request.customer_id):
            raise InvalidArgument("customer_id is malformed", field="customer_id")
        limit = _limit(request.limit, default=20, most=100)
        before = _parse_cursor(request.cursor) if request.cursor else None
        found = tables.list_orders(tx.session, request.customer_id or None, before, limit + 1)
        return ListOrdersResponse(
            orders=[order_message(order) for order in found[:limit]],
            next_cursor=_cursor(found[limit - 1]) if len(found) > limit else "",
        )

    def list_order_events(
        self, request: ListOrderEventsRequest, tx: ReadTransaction
    ) -> ListOrderEventsResponse:
        if not 0 <= request.after < 2**31:
            raise InvalidArgument("after must be a sequence of the order's record", field="after")
        recorded, ended = 0, 0
        if domain.is_identifier(request.order_id):
            recorded, ended = tables.recorded_and_ended(tx.session, request.order_id)
        if not recorded:
            raise NotFound(f"there is no order {request.order_id[:64]!r}")
        return ListOrderEventsResponse(
            events=[
                OrderEvent(sequence=row.sequence, cloudevent=row.cloudevent, terminal=row.terminal)
                for row in tables.list_events(tx.session, request.order_id, request.after)
            ],
            terminal_sequence=ended,
        )

    def get_orders_ledger(
        self, request: GetOrdersLedgerRequest, tx: ReadTransaction
    ) -> GetOrdersLedgerResponse:
        if request.cursor and not domain.is_identifier(request.cursor):
            raise InvalidArgument("cursor is not a next_cursor of this service", field="cursor")
        limit = _limit(request.limit, default=1000, most=1000)
        found = tables.ledger(tx.session, request.cursor, limit + 1)
        return GetOrdersLedgerResponse(
            orders=[entry_message(row) for row in found[:limit]],
            next_cursor=found[limit - 1].order_id if len(found) > limit else "",
        )


def _used(field: str, placed: tables.Order) -> InvalidArgument:
    return InvalidArgument(
        f"{field} was used for order {placed.order_id}, which asked for something else; "
        "send another one",
        field=field,
    )


def _draft(request: PlaceOrderRequest) -> Draft:
    lines = [Line(line.sku, line.quantity, line.price.amount) for line in request.lines]
    currencies = {line.price.currency for line in request.lines}
    try:
        if len(currencies) > 1:
            raise Invalid("must have prices in one currency", "lines")
        return domain.draft(
            request.order_id,
            request.customer_id,
            request.idempotency_key,
            lines,
            currency=next(iter(currencies), ""),
        )
    except Invalid as wrong:
        raise InvalidArgument(f"{wrong.field} {wrong}", field=wrong.field) from wrong


def _limit(asked: int, *, default: int, most: int) -> int:
    if not 0 <= asked <= most:
        raise InvalidArgument(f"limit must be 1 to {most}", field="limit")
    return asked or default


def _cursor(order: tables.Order) -> str:
    return f"{(order.placed_at - _EPOCH) // timedelta(microseconds=1)}.{order.order_id}"


def _parse_cursor(cursor: str) -> tuple[datetime, str]:
    parts = _CURSOR.fullmatch(cursor)
    if not parts or not domain.is_identifier(parts[2]):
        raise InvalidArgument("cursor is not a next_cursor of this service", field="cursor")
    return _EPOCH + timedelta(microseconds=int(parts[1])), parts[2]
