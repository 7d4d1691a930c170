"""Products as messages of the contract, and back."""

from inventory.domain import Product
from shop.inventory.v1 import Product as ProductMessage
from shop.money.v1 import Money

__all__ = ["product_message", "product_of"]


def product_of(message: ProductMessage) -> Product:
    return Product(
        sku=message.sku,
        name=message.name,
        department=message.department,
        price=message.price.amount,
        currency=message.price.currency,
        stock=message.stock,
    )


def product_message(product: Product) -> ProductMessage:
    return ProductMessage(
        sku=product.sku,
        name=product.name,
        department=product.department,
        price=Money(amount=product.price, currency=product.currency),
        stock=product.stock,
    )
