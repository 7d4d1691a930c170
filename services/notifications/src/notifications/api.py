"""The HTTP API of notifications."""

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict

from chassis import ReadTransaction
from chassis.http import RouteRead
from notifications import tables

__all__ = ["router"]

router = APIRouter(tags=["notifications"])


class Notification(BaseModel):
    """A notification to a customer about an order."""

    model_config = ConfigDict(from_attributes=True)

    order_id: str
    text: str


@router.get("/customers/{customer_id}/notifications")
async def customer_notifications(
    customer_id: str, read: RouteRead, limit: Annotated[int, Query(ge=1, le=100)] = 20
) -> list[Notification]:
    """Return the newest notifications of a customer, newest first."""
    return await read(_list_newest, customer_id, limit)


def _list_newest(tx: ReadTransaction, customer_id: str, limit: int) -> list[Notification]:
    found = tables.list_notifications(tx.session, customer_id, limit)
    return [Notification.model_validate(notification) for notification in found]
