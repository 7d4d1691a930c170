"""What customers are told."""

from enum import StrEnum

__all__ = ["Cancelled", "text_of_cancellation", "text_of_confirmation"]


class Cancelled(StrEnum):
    """Why an order was cancelled."""

    OUT_OF_STOCK = "something you ordered is out of stock"
    PAYMENT_DECLINED = "your payment was declined"
    TIMED_OUT = "it took us too long"
    FOR_SOME_REASON = "we could not fulfil it"


def text_of_confirmation(order_id: str, total: int, currency: str) -> str:
    """For a confirmed order; `total` is in minor units."""
    return f"Your order {order_id} is confirmed: {total / 100:.2f} {currency}."


def text_of_cancellation(order_id: str, why: Cancelled) -> str:
    return f"Your order {order_id} is cancelled: {why}. Anything charged is given back."
