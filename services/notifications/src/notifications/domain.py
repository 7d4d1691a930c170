"""The texts of notifications."""

import re
from enum import StrEnum

__all__ = [
    "CancelReason",
    "cancellation_text",
    "confirmation_text",
    "is_currency",
    "is_identifier",
]

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)


class CancelReason(StrEnum):
    """The reason for a cancellation, in the words for the customer."""

    OUT_OF_STOCK = "something you ordered is out of stock"
    PAYMENT_DECLINED = "your payment was declined"
    TIMED_OUT = "it took us too long"
    UNKNOWN = "we could not fulfil it"


def is_identifier(text: str) -> bool:
    """Return whether `text` has the form of an order's or a customer's id."""
    return _IDENTIFIER.fullmatch(text) is not None


def is_currency(text: str) -> bool:
    """Return whether `text` has the form of a currency's code (ISO 4217)."""
    return _CURRENCY.fullmatch(text) is not None


def confirmation_text(order_id: str, total: int, currency: str) -> str:
    """Return the text for a confirmed order; `total` is in minor units."""
    return f"Your order {order_id} is confirmed: {total / 100:.2f} {currency}."


def cancellation_text(order_id: str, reason: CancelReason) -> str:
    """Return the text for a cancelled order."""
    return f"Your order {order_id} is cancelled: {reason}. Anything charged is given back."
