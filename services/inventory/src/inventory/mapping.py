"""Rows of inventory as messages of the contract, and back."""

from inventory.domain import Product
from inventory.tables import StockRow
from shop.inventory.v1 import Product as ProductMessage
from shop.inventory.v1 import StockEntry
from shop.money.v1 import Money

__all__ = ["ledger_entry", "product_message", "product_of"]


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


def ledger_entry(row: StockRow) -> StockEntry:
    return StockEntry(sku=row.sku, on_hand=row.on_hand, reserved=row.reserved, sold=row.sold)
