"""The costs that an order may have. A test compares them with what is counted."""

from dataclasses import dataclass

__all__ = ["BATCH", "LIMITS", "Limit"]

BATCH = 100
"""Number of orders whose events are handled in one batch."""


@dataclass(frozen=True)
class Limit:
    """The cost of a step of the saga in one service."""

    service: str
    step: str
    """An RPC, or the type of the handled events."""
    statements: int
    """Statements for one order by itself, in one commit."""
    statements_of_batch: int
    """Statements for a batch of orders."""
    commits_of_batch: int
    bytes: int = 0
    """Bytes of the event that it publishes for each order, on average; 0 if it publishes none."""


LIMITS = (
    Limit("orders", "PlaceOrder", 3, 3 * BATCH, BATCH, 620),
    Limit("inventory", "OrderPlaced", 7, 4 * BATCH + 3, 1, 530),
    Limit("orders", "StockReserved", 5, 3 * BATCH + 2, 1),
    Limit("payments", "StockReserved", 4, BATCH + 3, 1, 560),
    Limit("orders", "PaymentAuthorized", 6, 3 * BATCH + 3, 1, 540),
    Limit("inventory", "OrderConfirmed", 3, 3, 1),
    Limit("notifications", "OrderConfirmed", 3, BATCH + 2, 1),
)
