"""The rules of inventory: what a valid product is, and when an order can be reserved."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

__all__ = [
    "Invalid",
    "Product",
    "ReservationStatus",
    "check_product",
    "find_shortages",
    "is_identifier",
    "sum_quantities",
]

MAX_PRICE = 1_000_000_000
MAX_STOCK = 1_000_000_000_000
# The number is far above the limit of an order, and within the range of the column `quantity`.
MAX_QUANTITY = 1_000_000_000

_IDENTIFIER = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:@-]{0,63}", re.ASCII)
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)


class ReservationStatus(StrEnum):
    """The state of an order's reservation. Only `reserved` ever changes."""

    RESERVED = "reserved"
    # The stock of at least one product was too low.
    REJECTED = "rejected"
    SOLD = "sold"
    # The order was cancelled, and its pieces are on hand again.
    RELEASED = "released"
    # OrderCancelled arrived before OrderPlaced, which therefore must not reserve anything.
    TOO_LATE = "too_late"


class Invalid(ValueError):
    """An invalid product or order. The message is a predicate of `field`: "must be 1 to 9"."""

    def __init__(self, detail: str, field: str) -> None:
        super().__init__(detail)
        self.field = field


@dataclass(frozen=True, slots=True)
class Product:
    """A product, its price in minor units, and the number of pieces that can be reserved."""

    sku: str
    name: str
    department: str
    price: int
    currency: str
    stock: int


def is_identifier(text: str) -> bool:
    """Return whether `text` has the form of a product's or an order's id."""
    return _IDENTIFIER.fullmatch(text) is not None


def check_product(product: Product) -> None:
    """Raise if a product cannot be sold.

    Raises:
        Invalid: a field is malformed.
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
        raise Invalid("must be three letters (ISO 4217)", "price.currency")
    if not 0 <= product.stock <= MAX_STOCK:
        raise Invalid(f"must be 0 to {MAX_STOCK}", "stock")


def sum_quantities(lines: Iterable[tuple[str, int]]) -> dict[str, int]:
    """Return the quantity of each product over all lines (sku, quantity), sorted by sku.

    Raises:
        Invalid: there is no line, a sku is malformed, or a quantity is not 1 to MAX_QUANTITY.
    """
    quantities: dict[str, int] = {}
    for sku, quantity in lines:
        total = quantities.get(sku, 0) + quantity
        if quantity < 1 or total > MAX_QUANTITY or not is_identifier(sku):
            raise Invalid(f"must not contain {total} pieces of {sku[:64]!r}", "lines")
        quantities[sku] = total
    if not quantities:
        raise Invalid("must not be empty", "lines")
    return dict(sorted(quantities.items()))


def find_shortages(quantities: Mapping[str, int], on_hand: Mapping[str, int]) -> list[str]:
    """Return the products whose stock is too low. An order is reserved only if there is none."""
    return [sku for sku, quantity in quantities.items() if on_hand.get(sku, 0) < quantity]
