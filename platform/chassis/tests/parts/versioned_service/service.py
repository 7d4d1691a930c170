"""The service: each sold book is written down with the version that handled it, and returned.

APP_HANDLERS selects `def` or `async def` handlers.
"""

import os
from typing import Literal

from bookshop import write_down
from pydantic import Field

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext, EventRouter, Service, ServiceSettings, Transact, Transaction

HANDLERS = {"def": EventRouter(), "async": EventRouter()}


class Settings(ServiceSettings):
    handlers: Literal["def", "async"] = Field("def", description="kind of the handlers")
    fails_every: int = Field(0, description="the handler fails for each n-th book; 0: for none")


@HANDLERS["def"].on(BookSold)
def sell(book: BookSold, tx: Transaction, event: EventContext, settings: Settings) -> None:
    number = int(book.book_id.rpartition("-")[2])
    if settings.fails_every and number % settings.fails_every == 0:
        raise ValueError(f"version {settings.version} cannot handle {book.book_id}")
    write_down(tx, event, settings.version)
    tx.publish(BookReturned(book_id=book.book_id, customer_id=event.id))


@HANDLERS["async"].on(BookSold)
async def sell_later(
    book: BookSold, transact: Transact, event: EventContext, settings: Settings
) -> None:
    await transact(lambda tx: sell(book, tx, event, settings))


service = Service(
    "bookstore",
    settings=Settings,
    events=[HANDLERS[os.environ.get("APP_HANDLERS", "def")]],
    publishes=[BookSold, BookReturned],
)
