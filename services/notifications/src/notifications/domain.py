"""What customers are told."""

import re
from enum import StrEnum

__all__ = [
    "Cancelled",
    "is_currency",
    "is_identifier",
    "text_of_cancellation",
    "text_of_confirmation",
]

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)


class Cancelled(StrEnum):
    """Why an order was cancelled."""

    OUT_OF_STOCK = "something you ordered is out of stock"
    PAYMENT_DECLINED = "your payment was declined"
    TIMED_OUT = "it took us too long"
    FOR_SOME_REASON = "we could not fulfil it"


def is_identifier(text: str) -> bool:
    """Whether `text` has the form of an order's or a customer's id."""
    return _IDENTIFIER.fullmatch(text) is not None


def is_currency(text: str) -> bool:
    return _CURRENCY.fullmatch(text) is not None


def text_of_confirmation(order_id: str, total: int, currency: str) -> str:
    """For a confirmed order; `total` is in minor units."""
    return f"Your order {order_id} is confirmed: {total / 100:.2f} {currency}."


def text_of_cancellation(order_id: str, why: Cancelled) -> str:
    return f"Your order {order_id} is cancelled: {why}. Anything charged is given back."
