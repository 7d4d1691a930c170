"""Orders and inventory as plain classes that keep everything in memory."""

from dataclasses import dataclass, field

from google.protobuf.timestamp_pb2 import Timestamp

from chassis import InvalidArgument, NotFound
from shop.inventory.v1 import (
    GetProductRequest,
    GetProductResponse,
    GetStockLedgerRequest,
    GetStockLedgerResponse,
    ListProductsRequest,
    ListProductsResponse,
    LoadProductsRequest,
    LoadProductsResponse,
    Product,
    QuoteProductsRequest,
    QuoteProductsResponse,
)
from shop.money.v1 import Money
from shop.orders.v1 import (
    ORDER_STATUS_PENDING,
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
    Order,
    OrderEvent,
    PlaceOrderRequest,
    PlaceOrderResponse,
)

__all__ = ["Inventory", "Orders", "Shop"]


@dataclass
class Shop:
    """The state of both services, which tests read and change."""

    orders: list[Order] = field(default_factory=list)
    events: list[OrderEvent] = field(default_factory=list)
    placed: list[PlaceOrderRequest] = field(default_factory=list)
    listed: list[ListOrdersRequest] = field(default_factory=list)

    def add_event(self, type: str, *, terminal: bool = False) -> None:
        """Add an event to the history, which is the same for every order."""
        sequence = len(self.events) + 1
        cloudevent = f'{{"type":"{type}"}}'
        self.events.append(OrderEvent(sequence=sequence, cloudevent=cloudevent, terminal=terminal))


class Inventory:
    """A fake of InventoryService that sells bread and milk at 199 each."""

    products = tuple(
        Product(
            sku=sku,
            name=sku.title(),
            department="GROCERY",
            price=Money(amount=199, currency="USD"),
            stock=9,
        )
        for sku in ("bread", "milk")
    )

    async def load_products(self, request: LoadProductsRequest) -> LoadProductsResponse:
        raise NotImplementedError

    async def get_product(self, request: GetProductRequest) -> GetProductResponse:
        for product in self.products:
            if product.sku == request.sku:
                return GetProductResponse(product=product)
        raise NotFound(f"there is no product {request.sku!r}")

    async def list_products(self, request: ListProductsRequest) -> ListProductsResponse:
        remaining = [product for product in self.products if product.sku > request.cursor]
        page = remaining[: request.limit]
        return ListProductsResponse(
            products=page, next_cursor=page[-1].sku if len(remaining) > len(page) else ""
        )

    async def quote_products(self, request: QuoteProductsRequest) -> QuoteProductsResponse:
        return QuoteProductsResponse(products=[p for p in self.products if p.sku in request.skus])

    async def get_stock_ledger(self, request: GetStockLedgerRequest) -> GetStockLedgerResponse:
        raise NotImplementedError


class Orders:
    """A fake of OrdersService that accepts every order, except with the key `taken`."""

    shop: Shop

    async def place_order(self, request: PlaceOrderRequest) -> PlaceOrderResponse:
        if request.idempotency_key == "taken":
            raise InvalidArgument("Idempotency-Key was used", field="Idempotency-Key")
        self.shop.placed.append(request)
        order = Order(
            order_id=request.order_id,
            customer_id=request.customer_id,
            status=ORDER_STATUS_PENDING,
            lines=request.lines,
            total=Money(amount=sum(n.quantity * n.price.amount for n in request.lines)),
            placed_at=Timestamp(seconds=1_800_000_000),
        )
        self.shop.orders.append(order)
        return PlaceOrderResponse(order=order)

    async def get_placed_order(self, request: GetPlacedOrderRequest) -> GetPlacedOrderResponse:
        for placed in self.shop.placed:
            if placed.idempotency_key == request.idempotency_key:
                if [line.quantity for line in placed.lines] != [n.quantity for n in request.lines]:
                    raise InvalidArgument("Idempotency-Key was used", field="Idempotency-Key")
                return GetPlacedOrderResponse(order=self._find(placed.order_id))
        raise NotFound("no order was placed with this key")

    async def get_order(self, request: GetOrderRequest) -> GetOrderResponse:
        return GetOrderResponse(order=self._find(request.order_id))

    async def list_orders(self, request: ListOrdersRequest) -> ListOrdersResponse:
        self.shop.listed.append(request)
        return ListOrdersResponse(orders=self.shop.orders, next_cursor="17.o-1")

    async def list_order_events(self, request: ListOrderEventsRequest) -> ListOrderEventsResponse:
        self._find(request.order_id)
        terminal = [event.sequence for event in self.shop.events if event.terminal]
        return ListOrderEventsResponse(
            events=[event for event in self.shop.events if event.sequence > request.after],
            terminal_sequence=terminal[0] if terminal else 0,
        )

    async def get_orders_ledger(self, request: GetOrdersLedgerRequest) -> GetOrdersLedgerResponse:
        raise NotImplementedError

    def _find(self, order_id: str) -> Order:
        for order in self.shop.orders:
            if order.order_id == order_id:
                return order
        raise NotFound(f"there is no order {order_id!r}")
