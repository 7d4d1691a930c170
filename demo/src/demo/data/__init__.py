"""The data of the demo: products and baskets of the published data set Complete Journey.

A sample of 5,000 baskets ships with the package. NOTICE.md says where it comes from and what was
left out. `demo.data.full` streams the whole set by the same rules.
"""

import csv
import gzip
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.resources import files
from itertools import groupby, islice
from operator import itemgetter
from sys import intern

__all__ = ["Basket", "Line", "Product", "baskets", "initial_stock", "products"]

STOCKED_PERCENT = 93
"""Initial stock in percent of the demand, so that some orders run out of stock.

Fewer orders do than the figure suggests, because declined orders release their stock.
"""


@dataclass(frozen=True, slots=True)
class Product:
    """A product. Several products may have the same name; the sku is unique."""

    sku: str
    name: str
    department: str
    price_cents: int
    """The price of one piece, in US cents; at least 1."""


@dataclass(frozen=True, slots=True)
class Line:
    """A product of a basket; a basket has at most one line of each product."""

    sku: str
    quantity: int
    """Number of pieces; at least 1."""


@dataclass(frozen=True, slots=True)
class Basket:
    """A purchase of one household: at least one line, sorted by product."""

    basket_id: str
    customer_id: str
    """The household's number in the data set."""
    lines: tuple[Line, ...]


def products() -> dict[str, Product]:
    """Return the products of the sample, by sku."""
    with _open_table("products.csv.gz") as rows:
        return {
            sku: Product(sku, name, department, int(price_cents))
            for sku, name, department, price_cents in rows
        }


def baskets(limit: int | None = None) -> Iterator[Basket]:
    """Yield the first `limit` baskets of the sample, or all, in the order they were paid."""
    with _open_table("baskets.csv.gz") as rows:
        yield from islice(in_baskets(rows), limit)


def in_baskets(rows: Iterable[Iterable[str]]) -> Iterator[Basket]:
    """Yield the baskets of rows (basket id, customer id, sku, quantity), grouped by basket."""
    for (basket_id, customer_id), lines in groupby(map(tuple, rows), key=itemgetter(0, 1)):
        # Skus repeat: because they are interned, a year of baskets fits into memory.
        yield Basket(
            basket_id, customer_id, tuple(Line(intern(row[2]), int(row[3])) for row in lines)
        )


def initial_stock(baskets: Iterable[Basket]) -> dict[str, int]:
    """Return the initial stock by sku: 93 % of the demand of the baskets, rounded up."""
    demand: Counter[str] = Counter()
    for basket in baskets:
        for line in basket.lines:
            demand[line.sku] += line.quantity
    return {sku: -(-pieces * STOCKED_PERCENT // 100) for sku, pieces in demand.items()}


@contextmanager
def _open_table(name: str) -> Iterator[Iterator[list[str]]]:
    """Open a table in this package, and yield an iterator over its rows without the header."""
    with (
        files(__name__).joinpath(name).open("rb") as packed,
        gzip.open(packed, "rt", encoding="utf-8", newline="") as text,
    ):
        rows = csv.reader(text)
        next(rows)
        yield rows
