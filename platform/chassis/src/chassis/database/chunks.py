"""Lists cut into parts that fit into one statement."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

__all__ = ["chunks"]

T = TypeVar("T")

# A statement can have 32,766 parameters on SQLite, 65,535 on PostgreSQL.
_MOST_PARAMETERS = 10_000


def chunks(items: Sequence[T], most: int = _MOST_PARAMETERS) -> Iterator[Sequence[T]]:
    """Yield a list in parts of at most `most` items; yield nothing for an empty list.

    Use it for `column.in_(…)` and other statements whose number of parameters a caller decides: a
    statement with more parameters than the database allows fails as a whole.
    """
    for start in range(0, len(items), most):
        yield items[start : start + most]
