"""The rules of orders: the transitions of the saga, and what a valid order is."""

import hashlib
import json
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import Enum, StrEnum

__all__ = [
    "MAX_LINES",
    "MAX_QUANTITY",
    "Action",
    "Draft",
    "Invalid",
    "Line",
    "Reason",
    "Status",
    "Trigger",
    "fingerprint",
    "is_idempotency_key",
    "is_identifier",
    "make_draft",
    "overdue_before",
    "transition",
]


class Status(StrEnum):
    """The state of an order. An order leaves `pending` once and never returns to it."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    CANCELLED = "cancelled"


class Reason(StrEnum):
    """The reason for a cancellation."""

    OUT_OF_STOCK = "out_of_stock"
    PAYMENT_DECLINED = "payment_declined"
    TIMED_OUT = "timed_out"


class Trigger(Enum):
    """An event or a time-out that may change an order. Triggers may arrive in any order."""

    STOCK_RESERVED = "stock reserved"
    STOCK_REJECTED = "stock rejected"
    PAYMENT_AUTHORIZED = "payment authorized"
    PAYMENT_DECLINED = "payment declined"
    PAYMENT_REFUNDED = "payment refunded"
    TIME_IS_UP = "time is up"


class Action(Enum):
    """The reaction to a trigger."""

    NOTHING = "nothing"
    CONFIRM = "confirm"
    CANCEL = "cancel"
    REFUND = "ask for a refund"


_FROM_PENDING: dict[Trigger, tuple[Action, Reason | None]] = {
    Trigger.STOCK_RESERVED: (Action.NOTHING, None),
    Trigger.STOCK_REJECTED: (Action.CANCEL, Reason.OUT_OF_STOCK),
    Trigger.PAYMENT_AUTHORIZED: (Action.CONFIRM, None),
    Trigger.PAYMENT_DECLINED: (Action.CANCEL, Reason.PAYMENT_DECLINED),
    Trigger.PAYMENT_REFUNDED: (Action.NOTHING, None),
    Trigger.TIME_IS_UP: (Action.CANCEL, Reason.TIMED_OUT),
}


def transition(status: Status, trigger: Trigger) -> tuple[Action, Reason | None]:
    """Return the action that `trigger` causes in an order in `status`, and the reason to cancel.

    An authorized payment is enough to confirm an order, because payments authorizes only orders
    whose stock is reserved. A payment for an order that was cancelled in the meantime is refunded.
    Any other trigger after the end of an order changes nothing.
    """
    if trigger is Trigger.PAYMENT_AUTHORIZED and status is Status.CANCELLED:
        return Action.REFUND, None
    if status is not Status.PENDING:
        return Action.NOTHING, None
    return _FROM_PENDING[trigger]


MAX_LINES = 250
MAX_QUANTITY = 1000
MAX_PRICE = 1_000_000_000

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_IDEMPOTENCY_KEY = re.compile(r"[\x21-\x7e]{1,255}", re.ASCII)


class Invalid(ValueError):
    """An invalid request for an order. The message follows the name of `field`: "must be 1"."""

    def __init__(self, detail: str, field: str) -> None:
        super().__init__(detail)
        self.field = field


@dataclass(frozen=True, slots=True)
class Line:
    """A product, its quantity, and the price of one piece in minor units."""

    sku: str
    quantity: int
    price: int


@dataclass(frozen=True, slots=True)
class Draft:
    """A valid order that is not placed yet."""

    order_id: str
    customer_id: str
    idempotency_key: str | None
    lines: tuple[Line, ...]
    currency: str

    @property
    def total(self) -> int:
        """The price of all lines, in minor units."""
        return sum(line.quantity * line.price for line in self.lines)

    @property
    def fingerprint(self) -> str:
        """The fingerprint of this draft, see `fingerprint()`."""
        quantities = ((line.sku, line.quantity) for line in self.lines)
        return fingerprint(self.customer_id, quantities)


def fingerprint(customer_id: str, lines: Iterable[tuple[str, int]]) -> str:
    """Return a hash of an order's content: the customer, and the quantity of each product.

    Prices and the order of the lines don't count, so that a request that is sent again after a
    price has changed is still the same request.
    """
    quantities: Counter[str] = Counter()
    for sku, quantity in lines:
        quantities[sku] += quantity
    content = [customer_id, sorted(quantities.items())]
    return hashlib.sha256(json.dumps(content).encode()).hexdigest()


def is_identifier(text: str) -> bool:
    """Return whether `text` has the form of an order's, a customer's or a product's id."""
    return _IDENTIFIER.fullmatch(text) is not None


def is_idempotency_key(text: str) -> bool:
    """Return whether `text` has the form of an idempotency key."""
    return _IDEMPOTENCY_KEY.fullmatch(text) is not None


def make_draft(
    order_id: str, customer_id: str, idempotency_key: str, lines: Sequence[Line], currency: str
) -> Draft:
    """Return a valid order; lines of the same product are merged.

    Raises:
        Invalid: something is missing, malformed or too large.
    """
    if not is_identifier(order_id):
        raise Invalid("must be 1 to 64 letters, digits or . _ : @ -", "order_id")
    if not is_identifier(customer_id):
        raise Invalid("must be 1 to 64 letters, digits or . _ : @ -", "customer_id")
    if idempotency_key and not is_idempotency_key(idempotency_key):
        raise Invalid("must be 1 to 255 visible ASCII characters", "Idempotency-Key")
    if not 1 <= len(lines) <= MAX_LINES:
        raise Invalid(f"must contain 1 to {MAX_LINES} items", "lines")
    if not _CURRENCY.fullmatch(currency):
        raise Invalid("must be three letters (ISO 4217)", "lines.0.price.currency")
    return Draft(order_id, customer_id, idempotency_key or None, _merge_lines(lines), currency)


def _merge_lines(lines: Sequence[Line]) -> tuple[Line, ...]:
    """Return one line per product, with its summed quantity; raise Invalid for a wrong line."""
    merged: dict[str, Line] = {}
    for position, line in enumerate(lines):
        if not is_identifier(line.sku):
            raise Invalid("must be 1 to 64 letters, digits or . _ : @ -", f"lines.{position}.sku")
        if not 0 <= line.price <= MAX_PRICE:
            raise Invalid(f"must be 0 to {MAX_PRICE}", f"lines.{position}.price.amount")
        before = merged.get(line.sku, replace(line, quantity=0))
        if before.price != line.price:
            raise Invalid(
                f"must equal the price of the other line with {line.sku}", f"lines.{position}.price"
            )
        quantity = before.quantity + line.quantity
        if line.quantity < 1 or quantity > MAX_QUANTITY:
            raise Invalid(
                f"must be 1 to {MAX_QUANTITY}, summed over all lines of a product",
                f"lines.{position}.quantity",
            )
        merged[line.sku] = replace(line, quantity=quantity)
    return tuple(merged.values())


def overdue_before(now: datetime, timeout_seconds: float) -> datetime:
    """Return the time before which a pending order must have been placed to be overdue."""
    return now - timedelta(seconds=timeout_seconds)
