"""NotificationsService: what others ask of notifications."""

from chassis import InvalidArgument, ReadTransaction
from notifications import tables
from shop.notifications.v1 import (
    GetNotificationsLedgerRequest,
    GetNotificationsLedgerResponse,
    ListNotificationsRequest,
    ListNotificationsResponse,
    NotificationEntry,
)
from shop.notifications.v1 import Notification as NotificationMessage

__all__ = ["Notifications"]


class Notifications:
    """The service, method by method."""

    def list_notifications(
        self, request: ListNotificationsRequest, tx: ReadTransaction
    ) -> ListNotificationsResponse:
        limit = _limit(request.limit, default=20, most=100)
        if not request.customer_id.isprintable():
            raise InvalidArgument("customer_id is malformed", field="customer_id")
        found = tables.list_notifications(tx.session, request.customer_id or None, limit)
        return ListNotificationsResponse(
            notifications=[
                NotificationMessage(
                    order_id=row.order_id, customer_id=row.customer_id, text=row.text
                )
                for row in found
            ]
        )

    def get_notifications_ledger(
        self, request: GetNotificationsLedgerRequest, tx: ReadTransaction
    ) -> GetNotificationsLedgerResponse:
        limit = _limit(request.limit, default=1000, most=1000)
        if not request.cursor.isprintable():
            raise InvalidArgument("cursor is not a next_cursor of this service", field="cursor")
        found = tables.ledger(tx.session, request.cursor, limit + 1)
        return GetNotificationsLedgerResponse(
            entries=[
                NotificationEntry(order_id=order_id, count=count)
                for order_id, count in found[:limit]
            ],
            next_cursor=found[limit - 1][0] if len(found) > limit else "",
        )


def _limit(asked: int, *, default: int, most: int) -> int:
    if not 0 <= asked <= most:
        raise InvalidArgument(f"limit must be 1 to {most}", field="limit")
    return asked or default
