"""What the test service is made of: calls, requests and handlers that take as long as told."""

import asyncio
import time
from collections.abc import AsyncIterator

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import Field, SecretStr

from bookstore.v1 import (
    BookSold,
    BooksService,
    GetBookRequest,
    GetBookResponse,
    SellBookRequest,
    SellBookResponse,
)
from chassis import EventRouter, Service, ServiceSettings, Transaction
from chassis.http import ServerSentEvent, event_stream

log = structlog.get_logger()
events = EventRouter()
router = APIRouter()


class Settings(ServiceSettings):
    database_url: SecretStr = SecretStr("sqlite:///.slipway/data/bookstore.db")
    wrapping_seconds: float = Field(0, description="time a handler takes")


@events.on(BookSold)
def wrap(sold: BookSold, tx: Transaction, settings: Settings) -> None:
    log.info("wrapping", book=sold.book_id)
    time.sleep(settings.wrapping_seconds)
    log.info("wrapped", book=sold.book_id)


class Books:
    def sell_book(self, request: SellBookRequest, tx: Transaction) -> SellBookResponse:
        tx.publish(BookSold(book_id=request.book_id, customer_id=request.customer_id))
        return SellBookResponse()

    async def get_book(self, request: GetBookRequest) -> GetBookResponse:
        await asyncio.sleep(float(request.book_id))
        return GetBookResponse()


@router.get("/slow/{seconds}")
async def slow(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@router.get("/events")
async def stream(request: Request) -> Response:
    async def quiet() -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent("hello")
        await asyncio.sleep(3600)

    return event_stream(request, quiet())


service = Service(
    "bookstore",
    settings=Settings,
    events=[events],
    grpc=[(BooksService, Books)],
    http=[router],
    publishes=[BookSold],
)
