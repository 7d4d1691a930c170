"""Reading ledgers from real gRPC servers, and waiting until no work is open."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from google.protobuf.message import Message

from demo.ledgers import (
    EventEntry,
    LedgerUnavailable,
    OrderEntry,
    PaymentEntry,
    StockEntry,
    read_event_ledgers,
    read_ledgers,
    read_orders,
)
from demo.settle import NotEnded, OpenWork, find_open, wait_ended
from shop.inventory.v1 import GetStockLedgerRequest, GetStockLedgerResponse
from shop.inventory.v1 import StockEntry as StockRow
from shop.money.v1 import Money
from shop.notifications.v1 import (
    GetNotificationsLedgerRequest,
    GetNotificationsLedgerResponse,
    NotificationEntry,
)
from shop.orders.v1 import (
    CANCEL_REASON_TIMED_OUT,
    ORDER_STATUS_CANCELLED,
    ORDER_STATUS_CONFIRMED,
    ORDER_STATUS_PENDING,
    GetOrdersLedgerRequest,
    GetOrdersLedgerResponse,
)
from shop.orders.v1 import OrderEntry as OrderRow
from shop.payments.v1 import GetPaymentsLedgerRequest, GetPaymentsLedgerResponse
from shop.payments.v1 import PaymentEntry as PaymentRow
from slipway.v1 import GetEventLedgerRequest, GetEventLedgerResponse

ORDERS = "shop.orders.v1.OrdersService/GetOrdersLedger"
STOCK = "shop.inventory.v1.InventoryService/GetStockLedger"
PAYMENTS = "shop.payments.v1.PaymentsService/GetPaymentsLedger"
NOTIFICATIONS = "shop.notifications.v1.NotificationsService/GetNotificationsLedger"
EVENTS = "slipway.v1.LedgerService/GetEventLedger"

PENDING = OrderRow(order_id="a", status=ORDER_STATUS_PENDING)
CONFIRMED = OrderRow(
    order_id="a",
    status=ORDER_STATUS_CONFIRMED,
    total=Money(amount=1999, currency="USD"),
    duration_micros=1_500_000,
    endings=1,
)


@dataclass
class FakeReplica:
    """A replica in this process, which answers each method by a function."""

    service: str
    answers: dict[str, Callable[[Any], Message]]
    name: str = ""
    running: bool = True
    http_url: str = ""
    grpc_port: int | None = None
    log: Path = Path("the.log")
    handled: list[int] = field(default_factory=lambda: [0])
    """Values of the metric of handled events, one per read; the last one repeats."""

    @property
    def grpc_address(self) -> str:
        return f"127.0.0.1:{self.grpc_port}"

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        self.name = self.name or self.service
        server = grpc.aio.server()
        server.add_generic_rpc_handlers((_Methods(self.answers),))
        self.grpc_port = server.add_insecure_port("127.0.0.1:0")
        await server.start()
        http = await asyncio.start_server(self._metrics, "127.0.0.1", 0)
        self.http_url = f"http://127.0.0.1:{http.sockets[0].getsockname()[1]}"
        try:
            yield
        finally:
            http.close()
            await http.wait_closed()
            await server.stop(0)

    async def _metrics(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        value = self.handled.pop(0) if len(self.handled) > 1 else self.handled[0]
        body = f'events_handled_total{{type="a.B"}} {value}\n'.encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\n")
        writer.write(b"Content-Length: %d\r\n\r\n%s" % (len(body), body))
        writer.close()


class _Methods(grpc.GenericRpcHandler):
    def __init__(self, answers: dict[str, Callable[[Any], Message]]) -> None:
        self._answers = answers

    def service(self, call: grpc.HandlerCallDetails) -> Any:
        method = str(call.method).removeprefix("/")
        if method not in self._answers:
            return None

        async def answer(request: Any, context: Any) -> Message:
            return self._answers[method](request)

        return grpc.unary_unary_rpc_method_handler(
            answer,
            request_deserializer=_REQUESTS[method].FromString,
            response_serializer=lambda message: message.SerializeToString(),
        )


_REQUESTS: dict[str, Any] = {
    ORDERS: GetOrdersLedgerRequest,
    STOCK: GetStockLedgerRequest,
    PAYMENTS: GetPaymentsLedgerRequest,
    NOTIFICATIONS: GetNotificationsLedgerRequest,
    EVENTS: GetEventLedgerRequest,
}


@dataclass
class Services:
    processes: Sequence[FakeReplica]

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for process in self.processes:
                await stack.enter_async_context(process.serve())
            yield


def pages(response: type[Any], field: str, rows: Sequence[Any]) -> Callable[[Any], Message]:
    """Answer with one row per page; the cursor is the number of rows before the page."""

    def answer(request: Any) -> Message:
        position = int(request.cursor or 0)
        following = position + 1
        page: Message = response(
            **{field: rows[position:following]},
            next_cursor=str(following) if following < len(rows) else "",
        )
        return page

    return answer


def in_turn(messages: Iterable[Message]) -> Callable[[Any], Message]:
    """Answer with these messages one after the other; the last one repeats."""
    remaining = list(messages)
    return lambda request: remaining.pop(0) if len(remaining) > 1 else remaining[0]


def orders_of(*rows: OrderRow) -> GetOrdersLedgerResponse:
    return GetOrdersLedgerResponse(orders=rows)


def no_open_events() -> dict[str, Callable[[Any], Message]]:
    return {EVENTS: lambda request: GetEventLedgerResponse()}


class TestReading:
    async def test_every_page_of_every_ledger_is_read(self) -> None:
        late = OrderRow(
            order_id="b",
            status=ORDER_STATUS_CANCELLED,
            reason=CANCEL_REASON_TIMED_OUT,
            total=Money(amount=5, currency="USD"),
            duration_micros=61_000_000,
            endings=1,
        )
        pending = OrderRow(order_id="c", status=ORDER_STATUS_PENDING)
        stock = [
            StockRow(sku="apples", on_hand=1, reserved=2, sold=3),
            StockRow(sku="bread", on_hand=4),
        ]
        payments = [
            PaymentRow(order_id="a", captured=Money(amount=1999)),
            PaymentRow(order_id="b", captured=Money(amount=5), refunded=Money(amount=5)),
        ]
        notified = [
            NotificationEntry(order_id="a", count=1),
            NotificationEntry(order_id="b", count=2),
        ]
        services = Services(
            [
                FakeReplica("gateway", {}),
                FakeReplica(
                    "orders",
                    {ORDERS: pages(GetOrdersLedgerResponse, "orders", [CONFIRMED, late, pending])}
                    | no_open_events(),
                ),
                FakeReplica("inventory", {STOCK: pages(GetStockLedgerResponse, "entries", stock)}),
                FakeReplica(
                    "payments", {PAYMENTS: pages(GetPaymentsLedgerResponse, "payments", payments)}
                ),
                FakeReplica(
                    "notifications",
                    {NOTIFICATIONS: pages(GetNotificationsLedgerResponse, "entries", notified)},
                ),
            ]
        )
        async with services.serve():
            ledgers = await read_ledgers(services)
        assert ledgers.orders == {
            "a": OrderEntry("confirmed", None, 1999, 1.5, 1),
            "b": OrderEntry("cancelled", "timed_out", 5, 61.0, 1),
            "c": OrderEntry("pending", None, 0, None, 0),
        }
        assert ledgers.stock == {"apples": StockEntry(1, 2, 3), "bread": StockEntry(4, 0, 0)}
        assert ledgers.payments == {"a": PaymentEntry(1999, 0), "b": PaymentEntry(5, 5)}
        assert ledgers.notifications == {"a": 1, "b": 2}
        # Services without the RPC have no event ledger.
        assert ledgers.events == {"orders": EventEntry(0, 0, 0, 0)}

    async def test_the_stopped_lanes_of_all_replicas_are_read(self) -> None:
        def stopped(*subjects: str, lag: int) -> dict[str, Callable[[Any], Message]]:
            answer = GetEventLedgerResponse(unsent=1, lag=lag, dead_letters=2, stopped=subjects)
            return {EVENTS: lambda request: answer}

        services = Services(
            [
                FakeReplica("orders", stopped("b.2: gap", lag=3)),
                FakeReplica("orders", stopped("a.1: gap", lag=4), name="orders-1"),
            ]
        )
        async with services.serve():
            events = await read_event_ledgers(services)
        assert events == {"orders": EventEntry(1, 4, 0, 2, ("a.1: gap", "b.2: gap"))}

    async def test_a_ledger_comes_from_a_replica_that_runs_and_answers(self) -> None:
        dead = FakeReplica("orders", {}, running=False)
        silent = FakeReplica("orders", {}, name="orders-1")
        healthy = FakeReplica(
            "orders", {ORDERS: lambda request: orders_of(CONFIRMED)}, name="orders-2"
        )
        services = Services([dead, silent, healthy])
        async with services.serve():
            assert list(await read_orders(services)) == ["a"]

    async def test_a_replica_that_does_not_answer_is_named_with_its_log(self) -> None:
        services = Services([FakeReplica("orders", {})])
        async with services.serve():
            pass
        with pytest.raises(
            LedgerUnavailable, match=r"orders did not return its ledger.*UNAVAILABLE.*the\.log"
        ):
            await read_orders(services)
        services.processes[0].running = False
        with pytest.raises(LedgerUnavailable, match="no replica of orders is running"):
            await read_orders(services)


class TestWaiting:
    async def test_ends_when_no_work_is_open(self) -> None:
        seen: list[OpenWork] = []
        rounds = in_turn([orders_of(PENDING), orders_of(CONFIRMED)])
        lag = in_turn([GetEventLedgerResponse(lag=2)] * 3 + [GetEventLedgerResponse()])
        services = Services([FakeReplica("orders", {ORDERS: rounds, EVENTS: lag})])
        async with services.serve():
            await wait_ended(services, seen.append)
        assert seen[0].descriptions == (
            "1 pending orders, the first is a",
            "orders: 2 events not handled",
        )
        assert [now.orders for now in seen[:2]] == [1, 0]
        assert seen[2].descriptions == ("orders: 2 events not handled",)
        assert {now.descriptions for now in seen[3:]} == {()}

    async def test_does_not_end_while_events_are_handled_between_two_reads(self) -> None:
        reads = 0

        def count(now: OpenWork) -> None:
            nonlocal reads
            reads += 1

        orders = FakeReplica(
            "orders", {ORDERS: lambda request: orders_of(CONFIRMED)} | no_open_events()
        )
        orders.handled = [1, 1, 2, 3, 3, 3]
        services = Services([orders])
        async with services.serve():
            await wait_ended(services, count)
        assert reads == 6

    async def test_waits_for_an_unavailable_service(self) -> None:
        orders = FakeReplica(
            "orders", {ORDERS: lambda request: orders_of(CONFIRMED)} | no_open_events()
        )
        orders.running = False
        services = Services([orders])
        seen: list[OpenWork] = []

        def restart(now: OpenWork) -> None:
            seen.append(now)
            orders.running = True

        async with services.serve():
            await wait_ended(services, restart)
        assert seen[0] == OpenWork(None, ("no replica of orders is running",))
        assert seen[-1].descriptions == ()

    async def test_gives_up_when_nothing_changes_and_names_the_open_work(self) -> None:
        services = Services(
            [FakeReplica("orders", {ORDERS: lambda request: orders_of(PENDING)} | no_open_events())]
        )
        async with services.serve():
            with pytest.raises(
                NotEnded, match=r"open work has not changed.*\n.*1 pending orders.*is a"
            ):
                await wait_ended(services, patience=0.3)


class TestOpen:
    def test_names_the_open_work_of_each_service(self) -> None:
        events = {
            "orders": EventEntry(1, 0, 0, 0),
            "payments": EventEntry(0, 2, 3, 0, ("a.1: gap",)),
            "inventory": EventEntry(0, 0, 0, 0),
        }
        assert find_open({}, events) == OpenWork(
            0,
            (
                "orders: 1 unsent events",
                "payments: 2 events not handled, 3 tasks, stopped at a.1: gap",
            ),
        )

    def test_dead_letters_are_not_waited_for(self) -> None:
        assert find_open({}, {"orders": EventEntry(0, 0, 0, 7)}).descriptions == ()
