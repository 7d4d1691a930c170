"""The rules of inventory: what a product is, and when an order's lines can be set aside."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "Invalid",
    "Product",
    "ReservationStatus",
    "checked",
    "is_identifier",
    "short_of",
    "wanted",
]

MAX_PRICE = 1_000_000_000
MAX_STOCK = 1_000_000_000_000
# Far above what can be ordered; a reservation keeps no more.
MAX_QUANTITY = 1_000_000_000

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)


class ReservationStatus(StrEnum):
    """What became of an order's wish for stock. Only `reserved` ever changes."""

    RESERVED = "reserved"
    # There was not enough of something.
    REJECTED = "rejected"
    SOLD = "sold"
    # The order was cancelled and its stock given back.
    RELEASED = "released"
    # The order was cancelled before its stock was asked for: it must not be reserved any more.
    TOO_LATE = "too_late"


class Invalid(ValueError):
    """A product or an order's lines are malformed: `field` names the part, the text goes on."""

    def __init__(self, detail: str, field: str) -> None:
        super().__init__(detail)
        self.field = field


@dataclass(frozen=True, slots=True)
class Product:
    """What is sold, at what price in minor units, and how many can still be reserved."""

    sku: str
    name: str
    department: str
    price: int
    currency: str
    stock: int


def is_identifier(text: str) -> bool:
    """Whether `text` has the form of a product's or an order's id."""
    return _IDENTIFIER.fullmatch(text) is not None


def checked(product: Product) -> Product:
    """The product, if it can be sold.

    Raises:
        Invalid: something about it is malformed.
    """
    if not is_identifier(product.sku):
        raise Invalid("must be 1 to 64 letters, digits or . _ : @ -", "sku")
    if not (1 <= len(product.name) <= 200 and product.name.isprintable()):
        raise Invalid("must be 1 to 200 printable characters", "name")
    if not (1 <= len(product.department) <= 100 and product.department.isprintable()):
        raise Invalid("must be 1 to 100 printable characters", "department")
    if not 0 <= product.price <= MAX_PRICE:
        raise Invalid(f"must be 0 to {MAX_PRICE}", "price.amount")
    if not _CURRENCY.fullmatch(product.currency):
        raise Invalid("must be a currency's three letters", "price.currency")
    if not 0 <= product.stock <= MAX_STOCK:
        raise Invalid(f"must be 0 to {MAX_STOCK}", "stock")
    return product


def wanted(lines: Iterable[tuple[str, int]]) -> dict[str, int]:
    """The quantity an order's lines ask for, by sku and in sku's order.

    Raises:
        Invalid: there is no line, or one asks for what is no product, or for none of it, or for
            too many.
    """
    quantities: dict[str, int] = {}
    for sku, quantity in lines:
        total = quantities.get(sku, 0) + quantity
        if quantity < 1 or total > MAX_QUANTITY or not is_identifier(sku):
            raise Invalid(f"ask for {total} of {sku[:64]!r}", "lines")
        quantities[sku] = total
    if not quantities:
        raise Invalid("are missing", "lines")
    return dict(sorted(quantities.items()))


def short_of(wanted: Mapping[str, int], on_hand: Mapping[str, int]) -> list[str]:
    """The products there is not enough of; all or nothing is reserved."""
    return [sku for sku, quantity in wanted.items() if on_hand.get(sku, 0) < quantity]
