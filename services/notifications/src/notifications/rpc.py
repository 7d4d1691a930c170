"""The RPCs of NotificationsService."""

from chassis import InvalidArgument, ReadTransaction
from chassis.paging import page_size
from notifications import tables
from notifications.mapping import ledger_entry, notification_message
from shop.notifications.v1 import (
    GetNotificationsLedgerRequest,
    GetNotificationsLedgerResponse,
    ListNotificationsRequest,
    ListNotificationsResponse,
)

__all__ = ["Notifications"]


class Notifications:
    """The implementation of NotificationsService."""

    def list_notifications(
        self, request: ListNotificationsRequest, tx: ReadTransaction
    ) -> ListNotificationsResponse:
        limit = page_size(request.limit, default=20, largest=100)
        if not request.customer_id.isprintable():
            raise InvalidArgument(
                "customer_id must consist of printable characters", field="customer_id"
            )
        found = tables.list_notifications(tx.session, request.customer_id or None, limit)
        return ListNotificationsResponse(notifications=[notification_message(row) for row in found])

    def get_notifications_ledger(
        self, request: GetNotificationsLedgerRequest, tx: ReadTransaction
    ) -> GetNotificationsLedgerResponse:
        limit = page_size(request.limit, default=1000, largest=1000)
        if not request.cursor.isprintable():
            raise InvalidArgument("cursor is not a next_cursor of this service", field="cursor")
        found = tables.list_ledger(tx.session, request.cursor, limit + 1)
        return GetNotificationsLedgerResponse(
            entries=[ledger_entry(order_id, count) for order_id, count in found[:limit]],
            next_cursor=found[limit - 1][0] if len(found) > limit else "",
        )
