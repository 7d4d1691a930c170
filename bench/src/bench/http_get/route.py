"""The route that every FastAPI application of the comparison serves."""

from fastapi import APIRouter
from pydantic import BaseModel

__all__ = ["ANSWER", "PATH", "router"]

PATH = "/items/7"
ANSWER = '{"id":7,"name":"widget","price":12.5,"tags":["a","b"]}'


class Item(BaseModel):
    """A small JSON object."""

    id: int
    name: str
    price: float
    tags: list[str]


router = APIRouter()


@router.get("/items/{id}")
async def item(id: int) -> Item:
    """Return an item."""
    return Item(id=id, name="widget", price=12.5, tags=["a", "b"])
