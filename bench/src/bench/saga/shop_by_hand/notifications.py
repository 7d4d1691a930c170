"""Notifications by hand."""

from datetime import UTC, datetime
from functools import partial

from bench.saga.shop_by_hand.hand_service import Data, HandService

_TABLES = """
CREATE TABLE notifications (order_id text, kind text, at text, PRIMARY KEY (order_id, kind));
"""
service = HandService("notifications", _TABLES)


async def notify(kind: str, ended: Data) -> None:
    """Store a notification."""
    row = [ended["order_id"], kind, datetime.now(UTC).isoformat()]
    service.run("INSERT INTO notifications VALUES (?, ?, ?)", row)


service.on("OrderConfirmed", partial(notify, "confirmed"))
service.on("OrderCancelled", partial(notify, "cancelled"))

if __name__ == "__main__":
    service.serve()
