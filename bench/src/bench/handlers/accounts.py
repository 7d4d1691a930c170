"""The work of each event, whichever code does it: an account gets one more order.

All contenders import this module, so it imports nothing of the platform.
"""

import hashlib
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from bench.worker import Check

__all__ = ["ACCOUNTS", "account_of", "expected", "found"]

ACCOUNTS = 5000


def account_of(order_id: str) -> int:
    """Return the number of the account that an order belongs to."""
    return zlib.crc32(order_id.encode()) % ACCOUNTS


def found(handled: int, balances: Mapping[int, int], published: Iterable[tuple[str, int]]) -> Check:
    """Return what a contender's database holds.

    Args:
        handled: number of events that took effect.
        balances: number of orders by account, without accounts that have none.
        published: order and amount of each event in the outbox.
    """
    return {
        "handled": handled,
        "balances": _digest(sorted(balances.items())),
        "published": _digest(sorted(published)),
    }


def expected(
    orders: Sequence[Mapping[str, Any]], account: Callable[[str], int] = account_of
) -> Check:
    """Return what the database must hold after these orders."""
    balances = Counter(account(order["order_id"]) for order in orders)
    published = [(order["order_id"], int(order["total"]["amount"])) for order in orders]
    return found(len(orders), balances, published)


def _digest(items: Iterable[tuple[object, int]]) -> str:
    text = "\n".join(f"{name} {number}" for name, number in items)
    return hashlib.sha256(text.encode()).hexdigest()
