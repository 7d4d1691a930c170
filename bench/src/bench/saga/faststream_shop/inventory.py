"""Inventory of the FastStream shop."""

import os
from pathlib import Path

import orjson
import sqlalchemy as sa
from sqlalchemy.ext.asyncio import AsyncConnection

from bench.saga.faststream_shop.peer_service import Data, PeerService
from bench.saga.variables import PRODUCTS
from bench.sql import metadata

products = sa.Table(
    "products",
    metadata,
    sa.Column("sku", sa.Text, primary_key=True),
    sa.Column("price", sa.Integer),
    sa.Column("stock", sa.Integer),
)
reservations = sa.Table(
    "reservations",
    metadata,
    sa.Column("order_id", sa.Text, primary_key=True),
    sa.Column("sku", sa.Text, primary_key=True),
    sa.Column("quantity", sa.Integer),
)
_FIND = sa.select(products).where(products.c.sku.in_(sa.bindparam("skus", expanding=True)))
_TAKE = (
    products.update()
    .where(products.c.sku == sa.bindparam("of"))
    .values(stock=products.c.stock - sa.bindparam("quantity"))
)
_RESERVE = reservations.insert().inline()
_RESERVED = sa.select(reservations).where(reservations.c.order_id == sa.bindparam("id"))
_END = reservations.delete().where(reservations.c.order_id == sa.bindparam("id"))


class Inventory(PeerService):
    """The service, which begins with the products of a file."""

    async def prepare(self) -> None:
        """Create the tables, and load the products."""
        await super().prepare()
        rows = [
            orjson.loads(line)
            for line in Path(os.environ[PRODUCTS]).read_text(encoding="utf-8").splitlines()
        ]
        async with self.engine.begin() as connection:
            await connection.execute(products.insert(), rows)


service = Inventory("inventory")


async def quote(request: Data) -> dict[str, int]:
    """Return prices."""
    async with service.engine.connect() as connection:
        rows = await connection.execute(_FIND, {"skus": request["skus"]})
        return {row.sku: row.price for row in rows}


async def reserve(connection: AsyncConnection, order: Data) -> None:
    """Reserve the stock of an order, all of it or nothing."""
    wanted = {line["sku"]: line["quantity"] for line in order["lines"]}
    rows = await connection.execute(_FIND, {"skus": list(wanted)})
    stock = {row.sku: row.stock for row in rows}
    data = {name: order[name] for name in ("order_id", "customer_id", "total")}
    if any(stock.get(sku, 0) < quantity for sku, quantity in wanted.items()):
        await service.publish(connection, "StockRejected", data)
        return
    taken = [{"of": sku, "quantity": quantity} for sku, quantity in wanted.items()]
    await connection.execute(_TAKE, taken)
    reserved = [
        {"order_id": order["order_id"], "sku": sku, "quantity": quantity}
        for sku, quantity in wanted.items()
    ]
    await connection.execute(_RESERVE, reserved)
    await service.publish(connection, "StockReserved", data)


async def sell(connection: AsyncConnection, confirmed: Data) -> None:
    """End the reservations of an order that is confirmed."""
    await connection.execute(_END, {"id": confirmed["order_id"]})


async def release(connection: AsyncConnection, cancelled: Data) -> None:
    """Give back what is reserved for an order that is cancelled."""
    id = {"id": cancelled["order_id"]}
    rows = (await connection.execute(_RESERVED, id)).all()
    if rows:
        back = [{"of": row.sku, "quantity": -row.quantity} for row in rows]
        await connection.execute(_TAKE, back)
        await connection.execute(_END, id)


service.broker.subscriber("inventory.quote")(quote)
service.on("OrderPlaced", reserve)
service.on("OrderConfirmed", sell)
service.on("OrderCancelled", release)

if __name__ == "__main__":
    service.serve()
