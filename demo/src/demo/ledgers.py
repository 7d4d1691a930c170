"""The ledgers of all services, which compute them from their rows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import grpc
import grpc.aio

from demo.channel import channel_to
from demo.replicas import Replica, RunningServices
from devkit.errors import DevkitError
from shop.inventory.v1 import (
    GetStockLedgerRequest,
    InventoryServiceAsyncStub,
    InventoryServiceStub,
)
from shop.notifications.v1 import (
    GetNotificationsLedgerRequest,
    NotificationsServiceAsyncStub,
    NotificationsServiceStub,
)
from shop.orders.v1 import (
    CANCEL_REASON_OUT_OF_STOCK,
    CANCEL_REASON_PAYMENT_DECLINED,
    CANCEL_REASON_TIMED_OUT,
    ORDER_STATUS_CANCELLED,
    ORDER_STATUS_CONFIRMED,
    CancelReason,
    GetOrdersLedgerRequest,
    OrdersServiceAsyncStub,
    OrdersServiceStub,
    OrderStatus,
)
from shop.payments.v1 import (
    GetPaymentsLedgerRequest,
    PaymentsServiceAsyncStub,
    PaymentsServiceStub,
)
from slipway.v1 import GetEventLedgerRequest, LedgerServiceAsyncStub, LedgerServiceStub

__all__ = [
    "EventEntry",
    "LedgerUnavailable",
    "Ledgers",
    "OrderEntry",
    "PaymentEntry",
    "StockEntry",
    "read_event_ledgers",
    "read_ledgers",
    "read_orders",
]

_SECONDS = 10.0
T = TypeVar("T")

Status = Literal["pending", "confirmed", "cancelled"]


@dataclass(frozen=True, slots=True)
class OrderEntry:
    """An order in the ledger of orders."""

    status: Status
    reason: str | None
    """Reason for the cancellation: out_of_stock, payment_declined or timed_out."""
    total: int
    """Amount in cents."""
    seconds: float | None
    """Time from placed_at to ended_at; None while the order is pending."""
    endings: int
    """Number of terminal events in the order's history."""


@dataclass(frozen=True, slots=True)
class StockEntry:
    """Numbers of pieces of a product in the ledger of inventory."""

    on_hand: int
    reserved: int
    sold: int


@dataclass(frozen=True, slots=True)
class PaymentEntry:
    """Amounts captured and refunded for an order, in cents."""

    captured: int
    refunded: int


@dataclass(frozen=True, slots=True)
class EventEntry:
    """The open work and dead letters of a service's event path, over all its replicas."""

    unsent: int
    lag: int
    tasks: int
    dead_letters: int
    stopped: tuple[str, ...] = ()
    """Stopped lanes, each with its subject and reason."""


@dataclass(frozen=True, slots=True)
class Ledgers:
    """The ledgers of all services. They are read one by one, so they match only at rest."""

    orders: Mapping[str, OrderEntry]
    """Orders by id. Payments and notifications are by order id, too."""
    stock: Mapping[str, StockEntry]
    """Stock by sku."""
    payments: Mapping[str, PaymentEntry]
    notifications: Mapping[str, int]
    """Number of notifications of each order."""
    events: Mapping[str, EventEntry]
    """Event ledgers by service, for each service that has a database."""


class LedgerUnavailable(DevkitError):
    """A ledger could not be read from a service."""


async def read_ledgers(platform: RunningServices) -> Ledgers:
    """Read all ledgers. Raises LedgerUnavailable if a service does not answer."""
    return Ledgers(
        orders=await read_orders(platform),
        stock=await _read_from_any_replica(platform, "inventory", _read_stock),
        payments=await _read_from_any_replica(platform, "payments", _read_payments),
        notifications=await _read_from_any_replica(platform, "notifications", _read_notifications),
        events=await read_event_ledgers(platform),
    )


async def read_orders(platform: RunningServices) -> dict[str, OrderEntry]:
    """Read the ledger of orders, by order id. Raises LedgerUnavailable."""
    return await _read_from_any_replica(platform, "orders", _read_orders)


async def read_event_ledgers(platform: RunningServices) -> dict[str, EventEntry]:
    """Read the event ledger of each service.

    All replicas are called, because only a replica knows which of its lanes are stopped. Raises
    LedgerUnavailable if a running replica does not answer or no replica of a service runs.
    """
    services = dict.fromkeys(p.service for p in platform.processes if p.grpc_port is not None)
    found = await asyncio.gather(*(_read_event_ledger(platform, service) for service in services))
    return {
        service: entry for service, entry in zip(services, found, strict=True) if entry is not None
    }


async def _read_event_ledger(platform: RunningServices, service: str) -> EventEntry | None:
    """Return a service's counts of events, read from each of its replicas."""
    replicas = _running_replicas(platform, service)
    answers = await asyncio.gather(*(_read_from(replica, _read_events) for replica in replicas))
    entries = [entry for entry in answers if entry is not None]
    if not entries:
        return None
    return EventEntry(
        # Each replica counts in the same database, but at a slightly different time.
        unsent=max(entry.unsent for entry in entries),
        lag=max(entry.lag for entry in entries),
        tasks=max(entry.tasks for entry in entries),
        dead_letters=max(entry.dead_letters for entry in entries),
        stopped=tuple(sorted({stop for entry in entries for stop in entry.stopped})),
    )


async def _read_from_any_replica(
    platform: RunningServices, service: str, read: Callable[[grpc.aio.Channel], Awaitable[T]]
) -> T:
    """Return the ledger of the first replica that answers."""
    last_error = None
    for replica in _running_replicas(platform, service):
        try:
            return await _read_from(replica, read)
        except LedgerUnavailable as error:
            last_error = error
    assert last_error is not None
    raise last_error


def _running_replicas(platform: RunningServices, service: str) -> list[Replica]:
    replicas = [p for p in platform.processes if p.service == service and p.running]
    if not replicas:
        raise LedgerUnavailable(f"no replica of {service} is running")
    return replicas


async def _read_from(replica: Replica, read: Callable[[grpc.aio.Channel], Awaitable[T]]) -> T:
    """Call a replica; raise LedgerUnavailable if it does not answer."""
    async with channel_to(replica) as channel:
        try:
            return await read(channel)
        except grpc.aio.AioRpcError as error:
            raise LedgerUnavailable(
                f"{replica.name} did not return its ledger: "
                f"{error.code().name}, {error.details()}"
                + (f" (its log: {replica.log})" if replica.log else "")
            ) from error


class _Page(Protocol):
    @property
    def next_cursor(self) -> str: ...


P = TypeVar("P", bound=_Page)


async def _read_pages(read_page: Callable[[str], Awaitable[P]]) -> AsyncIterator[P]:
    """Yield all pages; `read_page` takes a cursor."""
    page = await read_page("")
    yield page
    while page.next_cursor:
        page = await read_page(page.next_cursor)
        yield page


async def _read_orders(channel: grpc.aio.Channel) -> dict[str, OrderEntry]:
    """Return all orders by their id."""
    stub: OrdersServiceAsyncStub = OrdersServiceStub(channel)
    pages = _read_pages(
        lambda cursor: stub.GetOrdersLedger(GetOrdersLedgerRequest(cursor=cursor), timeout=_SECONDS)
    )
    return {
        order.order_id: OrderEntry(
            status=_STATUSES.get(order.status, "pending"),
            reason=_REASONS.get(order.reason),
            total=order.total.amount,
            seconds=order.duration_micros / 1e6 if order.status in _STATUSES else None,
            endings=order.endings,
        )
        async for page in pages
        for order in page.orders
    }


_STATUSES: dict[OrderStatus.ValueType, Status] = {
    ORDER_STATUS_CONFIRMED: "confirmed",
    ORDER_STATUS_CANCELLED: "cancelled",
}
_REASONS: dict[CancelReason.ValueType, str] = {
    CANCEL_REASON_OUT_OF_STOCK: "out_of_stock",
    CANCEL_REASON_PAYMENT_DECLINED: "payment_declined",
    CANCEL_REASON_TIMED_OUT: "timed_out",
}


async def _read_stock(channel: grpc.aio.Channel) -> dict[str, StockEntry]:
    """Return the stock of each product by its SKU."""
    stub: InventoryServiceAsyncStub = InventoryServiceStub(channel)
    pages = _read_pages(
        lambda cursor: stub.GetStockLedger(GetStockLedgerRequest(cursor=cursor), timeout=_SECONDS)
    )
    return {
        row.sku: StockEntry(row.on_hand, row.reserved, row.sold)
        async for page in pages
        for row in page.entries
    }


async def _read_payments(channel: grpc.aio.Channel) -> dict[str, PaymentEntry]:
    """Return the payment of each order by the order's id."""
    stub: PaymentsServiceAsyncStub = PaymentsServiceStub(channel)
    pages = _read_pages(
        lambda cursor: stub.GetPaymentsLedger(
            GetPaymentsLedgerRequest(cursor=cursor), timeout=_SECONDS
        )
    )
    return {
        row.order_id: PaymentEntry(row.captured.amount, row.refunded.amount)
        async for page in pages
        for row in page.payments
    }


async def _read_notifications(channel: grpc.aio.Channel) -> dict[str, int]:
    """Return the number of notifications of each order by the order's id."""
    stub: NotificationsServiceAsyncStub = NotificationsServiceStub(channel)
    pages = _read_pages(
        lambda cursor: stub.GetNotificationsLedger(
            GetNotificationsLedgerRequest(cursor=cursor), timeout=_SECONDS
        )
    )
    return {row.order_id: row.count async for page in pages for row in page.entries}


async def _read_events(channel: grpc.aio.Channel) -> EventEntry | None:
    """Return the event ledger, or None for a service without a database, which has none."""
    stub: LedgerServiceAsyncStub = LedgerServiceStub(channel)
    try:
        ledger = await stub.GetEventLedger(GetEventLedgerRequest(), timeout=_SECONDS)
    except grpc.aio.AioRpcError as error:
        if error.code() is grpc.StatusCode.UNIMPLEMENTED:
            return None
        raise
    return EventEntry(
        ledger.unsent, ledger.lag, ledger.tasks, ledger.dead_letters, tuple(ledger.stopped)
    )
