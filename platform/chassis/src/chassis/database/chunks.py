"""Lists in parts that fit into one statement."""

from collections.abc import Iterator, Sequence
from typing import TypeVar

__all__ = ["chunks"]

T = TypeVar("T")

# SQLite takes 32,766 parameters in a statement, PostgreSQL 65,535.
_MOST_PARAMETERS = 10_000


def chunks(items: Sequence[T], most: int = _MOST_PARAMETERS) -> Iterator[Sequence[T]]:
    """Cut a list into parts of at most `most`; nothing for an empty list.

    For `column.in_(…)` and the like, wherever a caller decides how long the list is: a statement
    with more parameters than the database takes fails as a whole.
    """
    for start in range(0, len(items), most):
        yield items[start : start + most]
