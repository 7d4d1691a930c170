"""Orders by hand, with the REST API."""

import uuid
from datetime import UTC, datetime
from typing import Annotated

import orjson
from fastapi import Header, HTTPException

from bench.saga.order_models import NewOrder, PlacedOrder
from bench.saga.shop_by_hand.hand_service import Data, HandService

_TABLES = """
CREATE TABLE orders (order_id text PRIMARY KEY, customer_id text, status text, total integer,
                     placed_at text, idempotency_key text UNIQUE);
CREATE TABLE order_lines (order_id text, sku text, quantity integer, price integer,
                          PRIMARY KEY (order_id, sku));
"""
service = HandService("orders", _TABLES)


@service.app.post("/orders", status_code=202)
async def place_order(new: NewOrder, idempotency_key: Annotated[str, Header()]) -> PlacedOrder:
    """Accept an order, once for each key."""
    known = service.run("SELECT order_id FROM orders WHERE idempotency_key = ?", [idempotency_key])
    if (row := known.fetchone()) is not None:
        return PlacedOrder(order_id=row[0])
    asked = orjson.dumps([line.sku for line in new.lines])
    answer = await service.client.request("inventory.quote", asked, timeout=30)
    prices = orjson.loads(answer.data)
    if any(line.sku not in prices for line in new.lines):
        raise HTTPException(422, "a product does not exist")
    order_id = str(uuid.uuid4())
    lines = [
        {"order_id": order_id, **line.model_dump(), "price": prices[line.sku]} for line in new.lines
    ]
    order = {
        "order_id": order_id,
        "customer_id": new.customer_id,
        "total": sum(line["price"] * line["quantity"] for line in lines),
        "placed_at": datetime.now(UTC).isoformat(),
    }
    service.begin()
    service.run(
        "INSERT INTO orders (order_id, customer_id, total, placed_at, status, idempotency_key)"
        " VALUES (?, ?, ?, ?, 'pending', ?)",
        [*order.values(), idempotency_key],
    )
    service.run_many(
        "INSERT INTO order_lines VALUES (?, ?, ?, ?)", [list(line.values()) for line in lines]
    )
    service.commit()
    await service.publish("OrderPlaced", {**order, "lines": lines})
    return PlacedOrder(order_id=order_id)


async def note_reservation(reserved: Data) -> None:
    """Note that the stock is reserved."""
    service.run(
        "UPDATE orders SET status = 'reserved' WHERE order_id = ? AND status = 'pending'",
        [reserved["order_id"]],
    )


async def confirm(authorized: Data) -> None:
    """Confirm an order that is paid."""
    await _end(authorized["order_id"], "confirmed", "OrderConfirmed")


async def cancel(refused: Data) -> None:
    """Cancel an order that is not paid, or for which there is no stock."""
    await _end(refused["order_id"], "cancelled", "OrderCancelled")


async def _end(id: str, status: str, type: str) -> None:
    # The payment may be heard of before the reservation.
    ended = service.run(
        "UPDATE orders SET status = ? WHERE order_id = ? AND status IN ('pending', 'reserved')"
        " RETURNING customer_id, total",
        [status, id],
    )
    if (row := ended.fetchone()) is not None:
        await service.publish(type, {"order_id": id, "customer_id": row[0], "total": row[1]})


service.on("StockReserved", note_reservation)
service.on("StockRejected", cancel)
service.on("PaymentAuthorized", confirm)
service.on("PaymentDeclined", cancel)

if __name__ == "__main__":
    service.serve()
