"""The RPCs of PaymentsService."""

from chassis import InvalidArgument, ReadTransaction
from chassis.paging import page_size
from payments import tables
from payments.mapping import ledger_entry
from shop.payments.v1 import GetPaymentsLedgerRequest, GetPaymentsLedgerResponse

__all__ = ["Payments"]


class Payments:
    """The implementation of PaymentsService."""

    def get_payments_ledger(
        self, request: GetPaymentsLedgerRequest, tx: ReadTransaction
    ) -> GetPaymentsLedgerResponse:
        limit = page_size(request.limit, default=1000, largest=1000)
        if not request.cursor.isprintable():
            raise InvalidArgument("cursor is not a next_cursor of this service", field="cursor")
        found = tables.list_ledger(tx.session, request.cursor, limit + 1)
        return GetPaymentsLedgerResponse(
            payments=[ledger_entry(row) for row in found[:limit]],
            next_cursor=found[limit - 1].order_id if len(found) > limit else "",
        )
