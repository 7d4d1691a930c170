"""The gRPC server of notifications, on both databases."""

from collections.abc import Awaitable, Callable

import pytest
import pytest_asyncio

from chassis import InvalidArgument, Service
from chassis.rpc import Clients
from chassis.testing import HandlerHarness
from notifications.service import service
from shop.money.v1 import Money
from shop.notifications.v1 import (
    GetNotificationsLedgerRequest,
    ListNotificationsRequest,
    NotificationsService,
    NotificationsServiceAsyncStub,
)
from shop.orders.v1 import OrderConfirmed


@pytest_asyncio.fixture
async def notifications(
    harness: HandlerHarness, serve: Callable[[Service, HandlerHarness], Awaitable[Clients]]
) -> NotificationsServiceAsyncStub:
    clients = await serve(service, harness)
    return clients.stub(NotificationsService, NotificationsServiceAsyncStub)


async def test_a_notification_is_listed_and_counted(
    harness: HandlerHarness, notifications: NotificationsServiceAsyncStub
) -> None:
    total = Money(amount=1999, currency="USD")
    await harness.handle_async(OrderConfirmed(order_id="o-1", customer_id="c-1", total=total))
    listed = await notifications.ListNotifications(ListNotificationsRequest(customer_id="c-1"))
    assert [notification.order_id for notification in listed.notifications] == ["o-1"]
    ledger = await notifications.GetNotificationsLedger(GetNotificationsLedgerRequest())
    assert [(entry.order_id, entry.count) for entry in ledger.entries] == [("o-1", 1)]


async def test_an_invalid_argument_names_its_field(
    notifications: NotificationsServiceAsyncStub,
) -> None:
    with pytest.raises(InvalidArgument) as refused:
        await notifications.ListNotifications(ListNotificationsRequest(customer_id="\x00"))
    assert refused.value.field == "customer_id"
    with pytest.raises(InvalidArgument) as refused:
        await notifications.GetNotificationsLedger(GetNotificationsLedgerRequest(cursor="\x00"))
    assert refused.value.field == "cursor"
