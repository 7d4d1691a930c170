"""The shapes of the REST surface. They change on their own, not with the contracts."""

from datetime import datetime
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field

__all__ = [
    "Identifier",
    "Money",
    "NewLine",
    "NewOrder",
    "Order",
    "OrderLine",
    "OrderPage",
    "PlacedOrder",
    "Product",
    "ProductPage",
]

Identifier = Annotated[
    str, Field(min_length=1, max_length=64, pattern=r"^[A-Za-z0-9][A-Za-z0-9._:@-]*$")
]
OrderStatus = Literal["pending", "confirmed", "cancelled"]
CancelReason = Literal["out_of_stock", "payment_declined", "timed_out"]
NextCursor = Annotated[
    str | None, Field(description="pass it as `cursor` for the next page; null on the last one")
]


class Money(BaseModel):
    """An amount in the currency's minor units: 1999 USD is $19.99."""

    amount: int = Field(examples=[1999])
    currency: str = Field(description="ISO 4217", examples=["USD"])


class Product(BaseModel):
    """Something the shop sells."""

    sku: str = Field(examples=["1029743"])
    name: str = Field(examples=["FLUID MILK WHITE ONLY 1 GA"])
    department: str = Field(examples=["GROCERY"])
    price: Money
    stock: int = Field(description="how many can still be reserved", examples=[12])


class ProductPage(BaseModel):
    """Products by sku."""

    items: list[Product]
    next_cursor: NextCursor


class NewLine(BaseModel):
    """A product, and how many of it."""

    model_config = ConfigDict(extra="forbid")

    sku: Identifier = Field(examples=["1029743"])
    quantity: int = Field(strict=True, ge=1, le=1000, examples=[2])


class NewOrder(BaseModel):
    """An order to place. Lines of the same product are added up, to at most 1000 pieces."""

    model_config = ConfigDict(extra="forbid")

    customer_id: Identifier = Field(examples=["customer-7"])
    lines: list[NewLine] = Field(min_length=1, max_length=250)


class PlacedOrder(BaseModel):
    """An order that was taken. Whether it is confirmed shows a moment later."""

    order_id: str = Field(examples=["0199c3d4-7a10-7c3e-8f6b-2d1f0a9b8c7d"])
    status: OrderStatus
    total: Money


class OrderLine(BaseModel):
    """A product, how many of it, and the price of one when the order was placed."""

    sku: str
    quantity: int
    price: Money


class Order(BaseModel):
    """An order and where it is."""

    order_id: str
    customer_id: str
    status: OrderStatus
    reason: CancelReason | None = Field(description="why the order was cancelled, if it was")
    lines: list[OrderLine]
    total: Money
    placed_at: datetime
    ended_at: datetime | None = Field(description="when it was confirmed or cancelled")


class OrderPage(BaseModel):
    """Orders, newest first."""

    items: list[Order]
    next_cursor: NextCursor
