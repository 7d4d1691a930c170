"""The orders of the benchmark: baskets of the published sample, with prices."""

import json
import uuid
from itertools import cycle, islice
from pathlib import Path
from typing import Any

from demo.catalog import CURRENCY, Catalog, from_sample
from demo.data import Basket

__all__ = ["write_orders"]

_SAMPLE = 5000


def write_orders(file: Path, count: int) -> None:
    """Write `count` orders, one JSON object in each line. Baskets repeat after 5,000 orders."""
    selection = from_sample(min(count, _SAMPLE))
    baskets = islice(cycle(selection.baskets()), count)
    with file.open("w", encoding="utf-8") as lines:
        for number, basket in enumerate(baskets):
            order = _order(number, basket, selection.catalog)
            lines.write(json.dumps(order, separators=(",", ":")) + "\n")


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
