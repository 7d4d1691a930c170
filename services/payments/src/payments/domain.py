"""The rules of payments. There is no outside provider: a total up to the limit is authorized."""

from enum import StrEnum

__all__ = ["PaymentStatus", "authorizes"]


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
