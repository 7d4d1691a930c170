"""Payments by hand."""

import uuid

from bench.saga.shop_by_hand.hand_service import Data, HandService

# The platform's shop authorizes totals up to the same limit, in minor units.
_LIMIT = 15_000
_TABLES = """
CREATE TABLE payments (order_id text PRIMARY KEY, payment_id text, status text, amount integer);
"""
service = HandService("payments", _TABLES)


async def authorize_or_decline(reserved: Data) -> None:
    """Authorize or decline the payment of an order."""
    authorized = reserved["total"] <= _LIMIT
    payment = {
        "order_id": reserved["order_id"],
        "payment_id": str(uuid.uuid4()),
        "status": "authorized" if authorized else "declined",
        "amount": reserved["total"],
    }
    service.run("INSERT INTO payments VALUES (?, ?, ?, ?)", list(payment.values()))
    await service.publish("PaymentAuthorized" if authorized else "PaymentDeclined", payment)


service.on("StockReserved", authorize_or_decline)

if __name__ == "__main__":
    service.serve()
