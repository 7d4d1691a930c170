"""The answer that every server of the comparison gives."""

from shop.inventory.v1 import GetProductResponse, Product
from shop.money.v1 import Money

__all__ = ["SKU", "product"]

SKU = "995242"


def product(sku: str) -> GetProductResponse:
    """Return a product."""
    return GetProductResponse(
        product=Product(
            sku=sku,
            name="Fluid milk white only, 1 gallon",
            department="Grocery",
            price=Money(amount=199, currency="USD"),
            stock=7,
        )
    )
