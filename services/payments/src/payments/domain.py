"""The rules of payments. There is no outside provider: a total up to the limit is authorized."""

import re
from enum import StrEnum

__all__ = ["PaymentStatus", "authorizes", "is_payable"]

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)


class PaymentStatus(StrEnum):
    """What became of an order's payment."""

    AUTHORIZED = "authorized"
    DECLINED = "declined"
    REFUNDED = "refunded"
    # A refund was asked for before the payment was: it is paid and given back once that comes.
    REFUND_DUE = "refund_due"


def authorizes(total: int, limit: int) -> bool:
    """Whether a total is authorized; both in minor units."""
    return 0 <= total <= limit


def is_payable(order_id: str, amount: int, currency: str) -> bool:
    """Whether an order of this id can owe that amount, in minor units of the currency."""
    wellformed = _IDENTIFIER.fullmatch(order_id) and _CURRENCY.fullmatch(currency)
    return bool(wellformed) and amount >= 0
