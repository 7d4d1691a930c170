"""PaymentsService: what others ask of payments."""

from chassis import InvalidArgument, ReadTransaction
from payments import tables
from shop.money.v1 import Money
from shop.payments.v1 import GetPaymentsLedgerRequest, GetPaymentsLedgerResponse, PaymentEntry

__all__ = ["Payments"]

_MOST_AT_ONCE = 1000


class Payments:
    """The service, method by method."""

    def get_payments_ledger(
        self, request: GetPaymentsLedgerRequest, tx: ReadTransaction
    ) -> GetPaymentsLedgerResponse:
        if not 0 <= request.limit <= _MOST_AT_ONCE:
            raise InvalidArgument(f"limit must be 1 to {_MOST_AT_ONCE}", field="limit")
        if not request.cursor.isprintable():
            raise InvalidArgument("cursor is not a next_cursor of this service", field="cursor")
        limit = request.limit or _MOST_AT_ONCE
        found = tables.ledger(tx.session, request.cursor, limit + 1)
        return GetPaymentsLedgerResponse(
            payments=[
                PaymentEntry(
                    order_id=row.order_id,
                    captured=Money(amount=row.captured, currency=row.currency),
                    refunded=Money(amount=row.refunded, currency=row.currency),
                )
                for row in found[:limit]
            ],
            next_cursor=found[limit - 1].order_id if len(found) > limit else "",
        )
