"""The size of a page of a list."""

from chassis.errors import InvalidArgument

__all__ = ["page_size"]


def page_size(limit: int, *, default: int, largest: int) -> int:
    """Return how many items a page may have; a `limit` of 0, an unset field, means `default`.

    Raises:
        InvalidArgument: `limit` is negative or greater than `largest`.
    """
    if not 0 <= limit <= largest:
        raise InvalidArgument(f"limit must be 1 to {largest}", field="limit")
    return limit or default
