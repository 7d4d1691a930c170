"""Orders of the FastStream shop, with the REST API."""

import uuid
from datetime import UTC, datetime
from typing import Annotated, Any

import sqlalchemy as sa
from fastapi import Header, HTTPException
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.saga.faststream_shop.peer_service import Data, PeerService
from bench.saga.order_models import NewOrder, PlacedOrder
from bench.sql import metadata

orders = sa.Table(
    "orders",
    metadata,
    sa.Column("order_id", sa.Text, primary_key=True),
    sa.Column("customer_id", sa.Text),
    sa.Column("status", sa.Text),
    sa.Column("total", sa.Integer),
    sa.Column("placed_at", sa.Text),
    sa.Column("idempotency_key", sa.Text, unique=True),
)
lines = sa.Table(
    "order_lines",
    metadata,
    sa.Column("order_id", sa.Text, primary_key=True),
    sa.Column("sku", sa.Text, primary_key=True),
    sa.Column("quantity", sa.Integer),
    sa.Column("price", sa.Integer),
)
_ADD_ORDER = orders.insert().inline()
_ADD_LINES = lines.insert().inline()
_FIND = sa.select(orders).where(orders.c.order_id == sa.bindparam("id"))
_FIND_BY_KEY = sa.select(orders.c.order_id).where(orders.c.idempotency_key == sa.bindparam("key"))
_MOVE = (
    orders.update()
    .where(
        orders.c.order_id == sa.bindparam("id"),
        orders.c.status.in_(sa.bindparam("before", expanding=True)),
    )
    .values(status=sa.bindparam("after"))
)

# The payment may be heard of before the reservation.
_OPEN = ["pending", "reserved"]

service = PeerService("orders")


@service.app.post("/orders", status_code=202)
async def place_order(new: NewOrder, idempotency_key: Annotated[str, Header()]) -> PlacedOrder:
    """Accept an order, once for each key."""
    async with service.engine.connect() as connection:
        known = (await connection.execute(_FIND_BY_KEY, {"key": idempotency_key})).scalar()
    if known:
        return PlacedOrder(order_id=known)
    prices = await _prices([line.sku for line in new.lines])
    if any(line.sku not in prices for line in new.lines):
        raise HTTPException(422, "a product does not exist")
    order_id = str(uuid.uuid4())
    rows = [
        {"order_id": order_id, **line.model_dump(), "price": prices[line.sku]} for line in new.lines
    ]
    order = {
        "order_id": order_id,
        "customer_id": new.customer_id,
        "total": sum(row["price"] * row["quantity"] for row in rows),
        "placed_at": datetime.now(UTC).isoformat(),
    }
    async with service.engine.begin() as connection:
        await connection.execute(
            _ADD_ORDER, {**order, "status": "pending", "idempotency_key": idempotency_key}
        )
        await connection.execute(_ADD_LINES, rows)
        await service.publish(connection, "OrderPlaced", {**order, "lines": rows})
    return PlacedOrder(order_id=order_id)


async def _prices(skus: list[str]) -> dict[str, int]:
    """Ask inventory for prices."""
    answer = await service.broker.request({"skus": skus}, "inventory.quote", timeout=30)
    prices: Any = await answer.decode()
    return dict(prices)


async def note_reservation(connection: AsyncConnection, reserved: Data) -> None:
    """Note that the stock is reserved."""
    await _move(connection, reserved["order_id"], ["pending"], "reserved")


async def confirm(connection: AsyncConnection, authorized: Data) -> None:
    """Confirm an order that is paid."""
    if await _move(connection, authorized["order_id"], _OPEN, "confirmed"):
        await _publish_end(connection, authorized["order_id"], "OrderConfirmed")


async def cancel_unpaid(connection: AsyncConnection, declined: Data) -> None:
    """Cancel an order that is not paid."""
    if await _move(connection, declined["order_id"], _OPEN, "cancelled"):
        await _publish_end(connection, declined["order_id"], "OrderCancelled")


async def cancel_without_stock(connection: AsyncConnection, rejected: Data) -> None:
    """Cancel an order for which there is no stock."""
    if await _move(connection, rejected["order_id"], _OPEN, "cancelled"):
        await _publish_end(connection, rejected["order_id"], "OrderCancelled")


async def _move(connection: AsyncConnection, id: str, before: list[str], after: str) -> bool:
    values = {"id": id, "before": before, "after": after}
    return bool((await connection.execute(_MOVE, values)).rowcount)


async def _publish_end(connection: AsyncConnection, id: str, type: str) -> None:
    order = (await connection.execute(_FIND, {"id": id})).one()
    data = {"order_id": id, "customer_id": order.customer_id, "total": order.total}
    await service.publish(connection, type, data)


service.on("StockReserved", note_reservation)
service.on("StockRejected", cancel_without_stock)
service.on("PaymentAuthorized", confirm)
service.on("PaymentDeclined", cancel_unpaid)

if __name__ == "__main__":
    service.serve()
