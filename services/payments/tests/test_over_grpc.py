"""The gRPC server of payments, on both databases."""

from collections.abc import Awaitable, Callable

import pytest
import pytest_asyncio

from chassis import InvalidArgument, Service
from chassis.rpc import Clients
from chassis.testing import HandlerHarness
from payments.service import service
from shop.inventory.v1 import StockReserved
from shop.money.v1 import Money
from shop.payments.v1 import (
    GetPaymentsLedgerRequest,
    PaymentsService,
    PaymentsServiceAsyncStub,
)


@pytest_asyncio.fixture
async def payments(
    harness: HandlerHarness, serve: Callable[[Service, HandlerHarness], Awaitable[Clients]]
) -> PaymentsServiceAsyncStub:
    clients = await serve(service, harness)
    return clients.stub(PaymentsService, PaymentsServiceAsyncStub)


async def test_the_ledger_shows_the_captured_amount(
    harness: HandlerHarness, payments: PaymentsServiceAsyncStub
) -> None:
    total = Money(amount=800, currency="USD")
    await harness.handle_async(StockReserved(order_id="o-1", total=total))
    (entry,) = (await payments.GetPaymentsLedger(GetPaymentsLedgerRequest())).payments
    assert (entry.order_id, entry.captured) == ("o-1", total)
    assert entry.refunded == Money(amount=0, currency="USD")


async def test_an_invalid_argument_names_its_field(payments: PaymentsServiceAsyncStub) -> None:
    for request, field in (
        (GetPaymentsLedgerRequest(limit=1001), "limit"),
        (GetPaymentsLedgerRequest(cursor="\x00"), "cursor"),
    ):
        with pytest.raises(InvalidArgument) as refused:
            await payments.GetPaymentsLedger(request)
        assert refused.value.field == field
