"""The models of the REST API. They are versioned independently of the contracts."""

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
    str | None, Field(description="Value of `cursor` for the next page; null on the last page.")
]


class Money(BaseModel):
    """An amount in the currency's minor units: 1999 USD is $19.99."""

    amount: int = Field(examples=[1999])
    currency: str = Field(description="ISO 4217 code.", examples=["USD"])


class Product(BaseModel):
    """A product of the shop."""

    sku: str = Field(examples=["1029743"])
    name: str = Field(examples=["FLUID MILK WHITE ONLY 1 GA"])
    department: str = Field(examples=["GROCERY"])
    price: Money
    stock: int = Field(description="Number of pieces that can be ordered.", examples=[12])


class ProductPage(BaseModel):
    """A page of products, sorted by sku."""

    items: list[Product]
    next_cursor: NextCursor


class NewLine(BaseModel):
    """A product and its quantity."""

    model_config = ConfigDict(extra="forbid")

    sku: Identifier = Field(examples=["1029743"])
    quantity: int = Field(strict=True, ge=1, le=1000, examples=[2])


class NewOrder(BaseModel):
    """An order to place. Lines of the same product are merged; at most 1000 pieces of each."""

    model_config = ConfigDict(extra="forbid")

    customer_id: Identifier = Field(examples=["customer-7"])
    lines: list[NewLine] = Field(min_length=1, max_length=250)


class PlacedOrder(BaseModel):
    """An accepted order. It is confirmed or cancelled later, usually within a second."""

    order_id: str = Field(examples=["0199c3d4-7a10-7c3e-8f6b-2d1f0a9b8c7d"])
    status: OrderStatus
    total: Money


class OrderLine(BaseModel):
    """A product, its quantity, and the price of one piece when the order was placed."""

    sku: str
    quantity: int
    price: Money


class Order(BaseModel):
    """An order and its status."""

    order_id: str
    customer_id: str
    status: OrderStatus
    reason: CancelReason | None = Field(
        description="Why the order was cancelled; null if it was not."
    )
    lines: list[OrderLine]
    total: Money
    placed_at: datetime
    ended_at: datetime | None = Field(
        description="When the order was confirmed or cancelled; null while it is pending."
    )


class OrderPage(BaseModel):
    """A page of orders, newest first."""

    items: list[Order]
    next_cursor: NextCursor
