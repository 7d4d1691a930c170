"""What the demo sells and replays: Complete Journey baskets, as published.

The sample (5,000 baskets) ships with the package; NOTICE.md says where it comes from and what was
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
"""How much of what the baskets ask for is on the shelf, so that some of them cannot be had.

Baskets whose payment is declined give back what they had reserved: fewer are short than it seems.
"""


@dataclass(frozen=True, slots=True)
class Product:
    """What can be bought. Several products may bear the same name; the sku tells them apart."""

    sku: str
    name: str
    department: str
    price_cents: int
    """The price of one, in US cents; at least 1."""


@dataclass(frozen=True, slots=True)
class Line:
    """One product of a basket; a basket has at most one line of each."""

    sku: str
    quantity: int
    """How many pieces; at least 1."""


@dataclass(frozen=True, slots=True)
class Basket:
    """What one household took to the till at once; never empty, lines by product."""

    basket_id: str
    customer_id: str
    """The household's number in the data set."""
    lines: tuple[Line, ...]


def products() -> dict[str, Product]:
    """The products of the sample, by sku."""
    with _rows("products.csv.gz") as rows:
        return {
            sku: Product(sku, name, department, int(price_cents))
            for sku, name, department, price_cents in rows
        }


def baskets(limit: int | None = None) -> Iterator[Basket]:
    """The baskets of the sample in the order they were paid, at most `limit` of them."""
    with _rows("baskets.csv.gz") as rows:
        yield from islice(in_baskets(rows), limit)


def in_baskets(rows: Iterable[Iterable[str]]) -> Iterator[Basket]:
    """Rows of (basket id, customer id, sku, quantity), a basket's rows together, as baskets."""
    for (basket_id, customer_id), lines in groupby(map(tuple, rows), key=itemgetter(0, 1)):
        # A product comes again and again: interned, a year of baskets fits into memory.
        yield Basket(
            basket_id, customer_id, tuple(Line(intern(row[2]), int(row[3])) for row in lines)
        )


def initial_stock(baskets: Iterable[Basket]) -> dict[str, int]:
    """Pieces to put on the shelf by sku: 93 % of what the baskets ask for, rounded up."""
    demand: Counter[str] = Counter()
    for basket in baskets:
        for line in basket.lines:
            demand[line.sku] += line.quantity
    return {sku: -(-asked * STOCKED_PERCENT // 100) for sku, asked in demand.items()}


@contextmanager
def _rows(name: str) -> Iterator[Iterator[list[str]]]:
    """The rows of a table beside this module, without its header, read as they are taken."""
    with (
        files(__name__).joinpath(name).open("rb") as packed,
        gzip.open(packed, "rt", encoding="utf-8", newline="") as text,
    ):
        rows = csv.reader(text)
        next(rows)
        yield rows
