"""The orders of the benchmark: baskets of the published sample, with prices."""

import json
import uuid
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from demo.catalog import CURRENCY, Catalog, from_sample
from demo.data import Basket

__all__ = ["sku_of", "write_orders", "write_some"]

_SAMPLE = 5000


def write_orders(file: Path, count: int) -> None:
    """Write `count` orders, one JSON object in each line. Baskets repeat after 5,000 orders."""
    selection = from_sample(min(count, _SAMPLE))
    baskets = islice(cycle(selection.baskets()), count)
    with file.open("w", encoding="utf-8") as lines:
        for number, basket in enumerate(baskets):
            order = _order(number, basket, selection.catalog)
            lines.write(json.dumps(order, separators=(",", ":")) + "\n")


def sku_of(sku: str) -> str:
    """Return the sku of a product that is in stock, whatever the demo has made of the other one."""
    return f"bench-{sku}"


def write_some(source: Path, file: Path, first: int, count: int, most_cents: int) -> None:
    """Write `count` orders whose total is at most `most_cents`, with new ids and skus.

    `first` is the number of such orders that are passed over.
    """
    with source.open(encoding="utf-8") as lines:
        orders = (json.loads(line) for line in lines)
        payable = [o for o in orders if int(o["total"]["amount"]) <= most_cents]
    with file.open("w", encoding="utf-8") as lines:
        for order in islice(cycle(payable), first, first + count):
            stocked = [{**line, "sku": sku_of(line["sku"])} for line in order["lines"]]
            changed = {**order, "order_id": str(uuid.uuid4()), "lines": stocked}
            lines.write(json.dumps(changed) + "\n")


def _order(number: int, basket: Basket, catalog: Catalog) -> dict[str, Any]:
    """Return an order in the form of the contract's OrderPlaced in JSON."""
    return {
        "order_id": str(uuid.uuid5(uuid.NAMESPACE_OID, f"order {number}")),
        "customer_id": basket.customer_id,
        "lines": [
            {
                "sku": line.sku,
                "quantity": line.quantity,
                "price": _money(catalog.products[line.sku].price_cents),
            }
            for line in basket.lines
        ],
        "total": _money(catalog.total(basket)),
        "placed_at": "2026-01-01T00:00:00Z",
    }


def _money(cents: int) -> dict[str, Any]:
    return {"amount": str(cents), "currency": CURRENCY}
