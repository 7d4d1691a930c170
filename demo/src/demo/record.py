"""The replay's record of what it has sent and what the gateway has answered."""

from collections import Counter
from dataclasses import dataclass, field

from demo.data import Basket

__all__ = ["PlacedOrder", "Record", "Refusal"]


@dataclass(frozen=True, slots=True)
class PlacedOrder:
    """A basket that was accepted with 202."""

    order_id: str
    basket: Basket
    total: int
    """Total in the answer, in cents."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A basket that was refused with an answer that sending it again would not change."""

    basket: Basket
    status: int
    detail: str


@dataclass(slots=True)
class Record:
    """The expected side of the laws: sent baskets and their answers, not read from a service."""

    sent: int = 0
    """Number of baskets sent; a basket that is sent again counts once."""
    placed: list[PlacedOrder] = field(default_factory=list)
    refused: list[Refusal] = field(default_factory=list)
    sent_again: Counter[str] = field(default_factory=Counter)
    """Number of baskets sent again by reason: a status, or the kind of lost connection."""
    seconds: float = 0.0
    """Time from the first request to the last answer."""
    held_seconds: float = 0.0
    """Time in which no basket was sent because orders took too long to end."""
    held: bool = False
    """Whether baskets are being held back now."""
