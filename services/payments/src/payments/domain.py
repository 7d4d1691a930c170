"""The rules of payments. There is no payment provider: a total up to a limit is authorized."""

import re
from enum import StrEnum

__all__ = ["PaymentStatus", "is_authorized", "is_payable"]

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)


class PaymentStatus(StrEnum):
    """The state of an order's payment."""

    AUTHORIZED = "authorized"
    DECLINED = "declined"
    REFUNDED = "refunded"
    # PaymentRefundRequested arrived before StockReserved, which will authorize and refund it.
    REFUND_DUE = "refund_due"


def is_authorized(total: int, limit: int) -> bool:
    """Return whether a total is authorized; both amounts are in minor units."""
    return 0 <= total <= limit


def is_payable(order_id: str, amount: int, currency: str) -> bool:
    """Return whether an order can owe `amount`, in minor units: all three must be valid."""
    wellformed = _IDENTIFIER.fullmatch(order_id) and _CURRENCY.fullmatch(currency)
    return bool(wellformed) and amount >= 0
