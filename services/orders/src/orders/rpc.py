"""The RPCs of OrdersService."""

from chassis import InvalidArgument, NotFound, ReadTransaction, Transaction
from chassis.paging import page_size
from orders import domain, saga, tables
from orders.domain import Draft, Invalid
from orders.mapping import (
    draft_of,
    event_message,
    from_cursor,
    ledger_entry,
    order_message,
    to_cursor,
)
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
    PlaceOrderRequest,
    PlaceOrderResponse,
)

__all__ = ["Orders"]

_LAST_SEQUENCE = 2**31 - 1


class Orders:
    """The implementation of OrdersService."""

    def place_order(self, request: PlaceOrderRequest, tx: Transaction) -> PlaceOrderResponse:
        draft = _valid_draft(request)
        placed = saga.place(tx, draft)
        if placed is None:
            placed = tables.find_placed(tx.session, draft)
            if placed.fingerprint != draft.fingerprint:
                field = "order_id" if placed.order_id == draft.order_id else "Idempotency-Key"
                raise _used_for_another_order(field, placed)
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
        requested = domain.fingerprint(
            customer_id, ((line.sku, line.quantity) for line in request.lines)
        )
        if placed.fingerprint != requested:
            raise _used_for_another_order("Idempotency-Key", placed)
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
            raise InvalidArgument(
                "customer_id must be 1 to 64 letters, digits or . _ : @ -", field="customer_id"
            )
        limit = page_size(request.limit, default=20, largest=100)
        before = from_cursor(request.cursor) if request.cursor else None
        found = tables.list_orders(tx.session, request.customer_id or None, before, limit + 1)
        return ListOrdersResponse(
            orders=[order_message(order) for order in found[:limit]],
            next_cursor=to_cursor(found[limit - 1]) if len(found) > limit else "",
        )

    def list_order_events(
        self, request: ListOrderEventsRequest, tx: ReadTransaction
    ) -> ListOrderEventsResponse:
        if not 0 <= request.after <= _LAST_SEQUENCE:
            raise InvalidArgument(f"after must be 0 to {_LAST_SEQUENCE}", field="after")
        length, terminal_sequence = 0, 0
        if domain.is_identifier(request.order_id):
            length, terminal_sequence = tables.measure_history(tx.session, request.order_id)
        if not length:
            raise NotFound(f"there is no order {request.order_id[:64]!r}")
        return ListOrderEventsResponse(
            events=[
                event_message(row)
                for row in tables.list_history(tx.session, request.order_id, request.after)
            ],
            terminal_sequence=terminal_sequence,
        )

    def get_orders_ledger(
        self, request: GetOrdersLedgerRequest, tx: ReadTransaction
    ) -> GetOrdersLedgerResponse:
        if request.cursor and not domain.is_identifier(request.cursor):
            raise InvalidArgument("cursor is not a next_cursor of this service", field="cursor")
        limit = page_size(request.limit, default=1000, largest=1000)
        found = tables.list_ledger(tx.session, request.cursor, limit + 1)
        return GetOrdersLedgerResponse(
            orders=[ledger_entry(row) for row in found[:limit]],
            next_cursor=found[limit - 1].order_id if len(found) > limit else "",
        )


def _used_for_another_order(field: str, placed: tables.Order) -> InvalidArgument:
    return InvalidArgument(
        f"{field} was used for order {placed.order_id}, which has other contents; send another one",
        field=field,
    )


def _valid_draft(request: PlaceOrderRequest) -> Draft:
    """Return the requested order; raise InvalidArgument if it is not valid."""
    try:
        return draft_of(request)
    except Invalid as error:
        raise InvalidArgument(f"{error.field} {error}", field=error.field) from error
