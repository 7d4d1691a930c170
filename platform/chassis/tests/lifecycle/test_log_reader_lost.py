"""A service whose log lines are not read continues to work, and ends as usual."""

import asyncio
import fcntl
import os
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NoReturn

import grpc.aio
import pytest
import structlog
from bookshop import eventually
from bookstore_process import BookstoreProcess
from forked_python import start_module
from relaying import StreamView

from bookstore.v1 import BooksServiceAsyncStub, BooksServiceStub, SellBookRequest
from chassis.events.background import BackgroundTasks
from localservers import NatsServer

_SMALLEST_PIPE = 4096


class PipedProcess(BookstoreProcess):
    """A process that logs into a small pipe."""

    def start(self) -> None:
        pipe = self.log.with_name("pipe")
        os.mkfifo(pipe)
        self.reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        os.set_blocking(self.reader, True)
        if sys.platform == "linux":
            fcntl.fcntl(self.reader, fcntl.F_SETPIPE_SZ, _SMALLEST_PIPE)
        self.process = start_module(self.module, environment=self.environment, stdout=pipe)


@asynccontextmanager
async def books_client(bookstore: BookstoreProcess) -> AsyncIterator[BooksServiceAsyncStub]:
    async with grpc.aio.insecure_channel(f"127.0.0.1:{bookstore.grpc_port}") as channel:
        books: BooksServiceAsyncStub = BooksServiceStub(channel)
        yield books


@pytest.mark.parametrize("reader", ["closed", "paused"])
async def test_events_continue_and_the_outbox_is_sent_at_the_end(
    nats: NatsServer, tmp_path: Path, reader: str
) -> None:
    bookstore = PipedProcess(tmp_path, nats_url=nats.url, copies="1")
    view = StreamView(nats.url)

    async def wait_for_stored(events: int) -> None:
        async def are() -> bool:
            return len(await view.messages()) == events

        await eventually(are)

    with bookstore:
        try:
            await bookstore.wait_until_ready()
            if reader == "closed":
                os.close(bookstore.reader)
            async with books_client(bookstore) as books:
                for number in range(40):
                    await books.SellBook(SellBookRequest(book_id=str(number)))
                # The handler publishes another event for each of the 40.
                await wait_for_stored(80)
                await asyncio.to_thread(nats.kill)
                await bookstore.wait_for_answer("/nothing", 404)
                await asyncio.to_thread(nats.start)
                await bookstore.wait_until_ready()
                for number in range(5):
                    await books.SellBook(SellBookRequest(book_id=str(number)))
                await wait_for_stored(90)
                answer = await bookstore.wait_for_answer("/metrics", 200)
                (line,) = (
                    line
                    for line in answer.text.splitlines()
                    if line.startswith("log_lines_dropped_total")
                )
                assert (float(line.split()[1]) > 0) == (reader == "closed")
                await books.SellBook(SellBookRequest(book_id="last"))
            bookstore.send_signal()
            assert await bookstore.wait_for_exit() == 0
        finally:
            if reader != "closed":
                os.close(bookstore.reader)
    messages = await view.messages()
    assert len([m for m in messages if m.subject.startswith("bookstore.v1.BookSold")]) == 46


@pytest.mark.parametrize("end", ["raises", "is cancelled"])
async def test_the_end_of_a_background_task_is_fatal_even_if_logging_fails(
    end: str,
) -> None:
    fatal: list[Exception] = []
    background = BackgroundTasks(fatal.append)

    def fails(*_: object) -> NoReturn:
        raise OSError("no log lines today")

    async def part() -> None:
        if end == "raises":
            raise LookupError("the part")
        asyncio.current_task().cancel()  # type: ignore[union-attr]
        await asyncio.sleep(0)

    async def is_fatal() -> bool:
        return bool(fatal)

    before = structlog.get_config()
    structlog.configure(processors=[fails])
    asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
    try:
        background.start(part())
        await eventually(is_fatal)
    finally:
        structlog.configure(**before)
        await background.end()
    assert "the part" in str(fatal[0]) or end == "is cancelled"
