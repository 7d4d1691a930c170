"""The test service: its calls, requests and handlers run until a test releases them."""

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import structlog
from fastapi import APIRouter, Request, Response
from pydantic import Field, SecretStr

from bookstore.v1 import (
    BookReturned,
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
    holds: Path = Field(
        Path("holds"), description="work waits while a file with its name is in this folder"
    )
    copies: int = Field(1, description="events that a handler publishes at its end")


@events.on(BookSold)
def wrap(sold: BookSold, tx: Transaction, settings: Settings) -> None:
    log.info("wrapping", book=sold.book_id)
    while (settings.holds / "wrapping").exists():
        time.sleep(0.02)
    for copy in range(settings.copies):
        tx.publish(BookReturned(book_id=sold.book_id, reason=str(copy)))
    log.info("wrapped", book=sold.book_id)


class Books:
    def sell_book(self, request: SellBookRequest, tx: Transaction) -> SellBookResponse:
        tx.publish(BookSold(book_id=request.book_id, customer_id=request.customer_id))
        return SellBookResponse()

    async def get_book(self, request: GetBookRequest, settings: Settings) -> GetBookResponse:
        log.info("looking")
        await _released(settings.holds / "call")
        return GetBookResponse()


@router.get("/books")
async def books(request: Request) -> str:
    log.info("listing")
    await _released(request.app.state.settings.holds / "request")
    return "all"


@router.get("/events")
async def stream(request: Request) -> Response:
    async def quiet() -> AsyncIterator[ServerSentEvent]:
        yield ServerSentEvent("hello")
        await asyncio.sleep(3600)

    return event_stream(request, quiet())


async def _released(hold: Path) -> None:
    while hold.exists():
        await asyncio.sleep(0.02)


service = Service(
    "bookstore",
    settings=Settings,
    events=[events],
    grpc=[(BooksService, Books)],
    http=[router],
    publishes=[BookSold, BookReturned],
    migrations=os.environ.get("STALL_MIGRATIONS"),
)
