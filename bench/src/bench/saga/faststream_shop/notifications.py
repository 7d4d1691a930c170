"""Notifications of the FastStream shop."""

from datetime import UTC, datetime
from functools import partial

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.saga.faststream_shop.peer_service import Data, PeerService
from bench.sql import metadata

notifications = sa.Table(
    "notifications",
    metadata,
    sa.Column("order_id", sa.Text, primary_key=True),
    sa.Column("kind", sa.Text, primary_key=True),
    sa.Column("at", sa.Text),
)
_ADD = notifications.insert().inline()

service = PeerService("notifications")


async def notify(kind: str, connection: AsyncConnection, ended: Data) -> None:
    """Store a notification."""
    row = {"order_id": ended["order_id"], "kind": kind, "at": datetime.now(UTC).isoformat()}
    await connection.execute(_ADD, row)


service.on("OrderConfirmed", partial(notify, "confirmed"))
service.on("OrderCancelled", partial(notify, "cancelled"))

if __name__ == "__main__":
    service.serve()
