"""Payments of the FastStream shop."""

import uuid

import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.saga.faststream_shop.peer_service import Data, PeerService
from bench.sql import metadata

# The platform's shop authorizes totals up to the same limit, in minor units.
_LIMIT = 15_000
payments = sa.Table(
    "payments",
    metadata,
    sa.Column("order_id", sa.Text, primary_key=True),
    sa.Column("payment_id", sa.Text),
    sa.Column("status", sa.Text),
    sa.Column("amount", sa.Integer),
)
_ADD = payments.insert().inline()

service = PeerService("payments")


async def authorize_or_decline(connection: AsyncConnection, reserved: Data) -> None:
    """Authorize or decline the payment of an order."""
    authorized = reserved["total"] <= _LIMIT
    payment = {
        "order_id": reserved["order_id"],
        "payment_id": str(uuid.uuid4()),
        "status": "authorized" if authorized else "declined",
        "amount": reserved["total"],
    }
    await connection.execute(_ADD, payment)
    type = "PaymentAuthorized" if authorized else "PaymentDeclined"
    await service.publish(connection, type, payment)


service.on("StockReserved", authorize_or_decline)

if __name__ == "__main__":
    service.serve()
