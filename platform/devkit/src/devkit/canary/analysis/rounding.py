"""Numbers as a person reads them."""

from math import floor, log10

__all__ = ["about"]


def about(number: float) -> int:
    """Return a number of requests, rounded up to two digits."""
    if number < 100:
        return -int(-number // 1)
    step = 10 ** (floor(log10(number)) - 1)
    return int(-(-number // step) * step)
