"""The bodies of POST /orders and of its answer, in both shops that are not the platform."""

from pydantic import BaseModel

__all__ = ["Line", "NewOrder", "PlacedOrder"]


class Line(BaseModel):
    """A line of a new order."""

    sku: str
    quantity: int


class NewOrder(BaseModel):
    """A new order."""

    customer_id: str
    lines: list[Line]


class PlacedOrder(BaseModel):
    """The id of an accepted order."""

    order_id: str
