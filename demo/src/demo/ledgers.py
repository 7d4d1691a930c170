"""Reads what every service says of itself: its ledger, computed from its rows."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Literal, Protocol, TypeVar

import grpc
import grpc.aio

from demo.channel import channel_to
from demo.replicas import Replica, Running
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
    """Why it was cancelled: out_of_stock, payment_declined or timed_out."""
    total: int
    """In cents."""
    seconds: float | None
    """From placed_at to ended_at; None while it is pending."""
    endings: int
    """Terminal events in its record."""


@dataclass(frozen=True, slots=True)
class StockEntry:
    """Where a product's pieces are."""

    on_hand: int
    reserved: int
    sold: int


@dataclass(frozen=True, slots=True)
class PaymentEntry:
    """What was taken for an order and given back, in cents."""

    captured: int
    refunded: int


@dataclass(frozen=True, slots=True)
class EventEntry:
    """What a service's event path still holds, over all its replicas."""

    unsent: int
    lag: int
    tasks: int
    dead_letters: int
    stopped: tuple[str, ...] = ()
    """Subjects whose lane has stopped, and why."""


@dataclass(frozen=True, slots=True)
class Ledgers:
    """All of them, read one after the other: true of one moment only when nothing moves."""

    orders: Mapping[str, OrderEntry]
    """By order id, like payments and notifications."""
    stock: Mapping[str, StockEntry]
    """By sku."""
    payments: Mapping[str, PaymentEntry]
    notifications: Mapping[str, int]
    """How many an order got."""
    events: Mapping[str, EventEntry]
    """By service: all that keep a database."""


class LedgerUnavailable(DevkitError):
    """A service did not answer for its ledger."""


async def read_ledgers(platform: Running) -> Ledgers:
    """Ask every service. Raises LedgerUnavailable naming one that does not answer."""
    return Ledgers(
        orders=await read_orders(platform),
        stock=await _answer(platform, "inventory", _stock),
        payments=await _answer(platform, "payments", _payments),
        notifications=await _answer(platform, "notifications", _notifications),
        events=await read_event_ledgers(platform),
    )


async def read_orders(platform: Running) -> dict[str, OrderEntry]:
    """The ledger of orders, by order id. Raises LedgerUnavailable."""
    return await _answer(platform, "orders", _orders)


async def read_event_ledgers(platform: Running) -> dict[str, EventEntry]:
    """What the event path of every service holds, by service.

    Every replica is asked, since only it knows which lanes have stopped in it. Raises
    LedgerUnavailable if a replica that runs does not answer, or none of a service runs.
    """
    services = dict.fromkeys(p.service for p in platform.processes if p.grpc_port is not None)
    found = await asyncio.gather(*(_events_of(platform, service) for service in services))
    return {
        service: entry for service, entry in zip(services, found, strict=True) if entry is not None
    }


async def _events_of(platform: Running, service: str) -> EventEntry | None:
    replicas = _running(platform, service)
    answers = await asyncio.gather(*(_ask(replica, _events) for replica in replicas))
    entries = [entry for entry in answers if entry is not None]
    if not entries:
        return None
    return EventEntry(
        # Counted in the one database by each of them, at slightly different moments.
        unsent=max(entry.unsent for entry in entries),
        lag=max(entry.lag for entry in entries),
        tasks=max(entry.tasks for entry in entries),
        dead_letters=max(entry.dead_letters for entry in entries),
        stopped=tuple(sorted({stop for entry in entries for stop in entry.stopped})),
    )


async def _answer(
    platform: Running, service: str, read: Callable[[grpc.aio.Channel], Awaitable[T]]
) -> T:
    """From the first replica that answers."""
    failed = None
    for replica in _running(platform, service):
        try:
            return await _ask(replica, read)
        except LedgerUnavailable as error:
            failed = error
    assert failed is not None
    raise failed


def _running(platform: Running, service: str) -> list[Replica]:
    replicas = [p for p in platform.processes if p.service == service and p.running]
    if not replicas:
        raise LedgerUnavailable(f"no replica of {service} runs")
    return replicas


async def _ask(replica: Replica, read: Callable[[grpc.aio.Channel], Awaitable[T]]) -> T:
    async with channel_to(replica) as channel:
        try:
            return await read(channel)
        except grpc.aio.AioRpcError as error:
            raise LedgerUnavailable(
                f"{replica.name} does not answer for its ledger: "
                f"{error.code().name}, {error.details()}"
                + (f" (its log: {replica.log})" if replica.log else "")
            ) from error


class _Page(Protocol):
    @property
    def next_cursor(self) -> str: ...


P = TypeVar("P", bound=_Page)


async def _pages(ask: Callable[[str], Awaitable[P]]) -> AsyncIterator[P]:
    page = await ask("")
    yield page
    while page.next_cursor:
        page = await ask(page.next_cursor)
        yield page


async def _orders(channel: grpc.aio.Channel) -> dict[str, OrderEntry]:
    stub: OrdersServiceAsyncStub = OrdersServiceStub(channel)
    pages = _pages(
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


async def _stock(channel: grpc.aio.Channel) -> dict[str, StockEntry]:
    stub: InventoryServiceAsyncStub = InventoryServiceStub(channel)
    pages = _pages(
        lambda cursor: stub.GetStockLedger(GetStockLedgerRequest(cursor=cursor), timeout=_SECONDS)
    )
    return {
        row.sku: StockEntry(row.on_hand, row.reserved, row.sold)
        async for page in pages
        for row in page.entries
    }


async def _payments(channel: grpc.aio.Channel) -> dict[str, PaymentEntry]:
    stub: PaymentsServiceAsyncStub = PaymentsServiceStub(channel)
    pages = _pages(
        lambda cursor: stub.GetPaymentsLedger(
            GetPaymentsLedgerRequest(cursor=cursor), timeout=_SECONDS
        )
    )
    return {
        row.order_id: PaymentEntry(row.captured.amount, row.refunded.amount)
        async for page in pages
        for row in page.payments
    }


async def _notifications(channel: grpc.aio.Channel) -> dict[str, int]:
    stub: NotificationsServiceAsyncStub = NotificationsServiceStub(channel)
    pages = _pages(
        lambda cursor: stub.GetNotificationsLedger(
            GetNotificationsLedgerRequest(cursor=cursor), timeout=_SECONDS
        )
    )
    return {row.order_id: row.count async for page in pages for row in page.entries}


async def _events(channel: grpc.aio.Channel) -> EventEntry | None:
    """None from a service without a database, which has no such ledger."""
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
