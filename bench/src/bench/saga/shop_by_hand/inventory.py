"""Inventory by hand."""

import os
from pathlib import Path

import orjson
from nats.aio.msg import Msg

from bench.saga.shop_by_hand.hand_service import Data, HandService
from bench.saga.variables import PRODUCTS

_TABLES = """
CREATE TABLE products (sku text PRIMARY KEY, price integer, stock integer);
CREATE TABLE reservations (order_id text, sku text, quantity integer,
                           PRIMARY KEY (order_id, sku));
"""
_TAKE = "UPDATE products SET stock = stock - ? WHERE sku = ?"


class Inventory(HandService):
    """The service, which begins with the products of a file."""

    async def prepare(self) -> None:
        """Create the tables, and load the products."""
        await super().prepare()
        products = [
            orjson.loads(line)
            for line in Path(os.environ[PRODUCTS]).read_text(encoding="utf-8").splitlines()
        ]
        rows = [(p["sku"], p["price"], p["stock"]) for p in products]
        self.begin()
        self.run_many("INSERT INTO products VALUES (?, ?, ?)", rows)
        self.commit()


service = Inventory("inventory", _TABLES)


async def quote(request: Msg) -> None:
    """Answer with prices."""
    skus = orjson.loads(request.data)
    rows = service.run(
        f"SELECT sku, price FROM products WHERE sku IN {service.in_list(skus)}", skus
    )
    await request.respond(orjson.dumps(dict(rows.fetchall())))


async def reserve(order: Data) -> None:
    """Reserve the stock of an order, all of it or nothing."""
    wanted = {line["sku"]: line["quantity"] for line in order["lines"]}
    data = {name: order[name] for name in ("order_id", "customer_id", "total")}
    skus = list(wanted)
    service.begin()
    rows = service.run(
        f"SELECT sku, stock FROM products WHERE sku IN {service.in_list(skus)}", skus
    )
    stock = dict(rows.fetchall())
    enough = all(stock.get(sku, 0) >= quantity for sku, quantity in wanted.items())
    if enough:
        service.run_many(_TAKE, [(quantity, sku) for sku, quantity in wanted.items()])
        service.run_many(
            "INSERT INTO reservations VALUES (?, ?, ?)",
            [(order["order_id"], sku, quantity) for sku, quantity in wanted.items()],
        )
    service.commit()
    await service.publish("StockReserved" if enough else "StockRejected", data)


async def sell(confirmed: Data) -> None:
    """End the reservations of an order that is confirmed."""
    service.run("DELETE FROM reservations WHERE order_id = ?", [confirmed["order_id"]])


async def release(cancelled: Data) -> None:
    """Give back what is reserved for an order that is cancelled."""
    service.begin()
    rows = service.run(
        "DELETE FROM reservations WHERE order_id = ? RETURNING -quantity, sku",
        [cancelled["order_id"]],
    ).fetchall()
    if rows:
        service.run_many(_TAKE, rows)
    service.commit()


service.answer("inventory.quote", quote)
service.on("OrderPlaced", reserve)
service.on("OrderConfirmed", sell)
service.on("OrderCancelled", release)

if __name__ == "__main__":
    service.serve()
