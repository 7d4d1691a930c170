"""A shadow's handlers reach nothing outside unless an operator allows it."""

import contextlib
import socket
import subprocess
import sys
from threading import Thread

import pytest
from books_rpc import Books, Servers
from bookshop import sold, write_down
from forked_python import run_code
from reading import returned_by
from relaying import Shop
from shadow_runs import Shadowed

from bookstore.v1 import (
    Book,
    BookReturned,
    BookSold,
    BooksService,
    GetBookRequest,
    GetBookResponse,
    SellBookRequest,
    SellBookResponse,
)
from chassis import EventContext, EventRouter, Transact, Transaction
from localservers import NatsServer


class Bookshelf:
    """A service that counts its calls."""

    calls: list[str] = []  # noqa: RUF012

    async def sell_book(self, request: SellBookRequest) -> SellBookResponse:
        self.calls.append("SellBook")
        return SellBookResponse(book=Book(title="sold"))

    async def get_book(self, request: GetBookRequest) -> GetBookResponse:
        self.calls.append("GetBook")
        return GetBookResponse(book=Book(title="read"))


async def test_calls_that_may_change_something_are_refused_unless_they_are_allowed(
    nats: NatsServer, sqlite_url: str, shop: Shop, rpc: Servers
) -> None:
    events = EventRouter()

    @events.on(BookSold)
    async def sell(book: BookSold, books: Books, event: EventContext, transact: Transact) -> None:
        title = (await books.GetBook(GetBookRequest(book_id=book.book_id))).book.title
        with contextlib.suppress(ValueError):
            title = (await books.SellBook(SellBookRequest(book_id=book.book_id))).book.title
        await transact(lambda tx: tx.publish(BookReturned(book_id=book.book_id, reason=title)))

    Bookshelf.calls.clear()
    server = await rpc.start(Bookshelf)
    await shop.publish(sold(0), returned_by(0))
    await shop.sent()
    shadowed = Shadowed(
        events,
        sqlite_url,
        nats.url,
        calls=[BooksService],
        APP_TARGETS=f'{{"bookstore": "ipv4:127.0.0.1:{server.port}"}}',
    )

    replayed = await shadowed.replay("--allow-handler", "sell")
    (result,) = replayed.results
    assert (result["outcome"], result["reason"], result["published"]) == (
        "outside call",
        "call of bookstore.v1.BooksService.SellBook (not allowed in a shadow)",
        [],
    )
    assert Bookshelf.calls == ["GetBook"]

    replayed = await shadowed.replay("--allow-handler", "sell", "--allow-calls", "bookstore")
    assert replayed.outcomes == ["handled"]
    assert replayed.published[0]["data"]["reason"] == "sold"
    assert Bookshelf.calls == ["GetBook", "GetBook", "SellBook"]


@pytest.mark.parametrize("way", ["connect", "send", "run"])
async def test_a_def_handler_connects_to_nothing_and_starts_no_process(
    nats: NatsServer, books_url: str, shop: Shop, way: str
) -> None:
    reached: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = server.getsockname()
        thread = Thread(target=lambda: _accept(server, reached), daemon=True)
        thread.start()
        events = EventRouter()

        @events.on(BookSold)
        def sell(book: BookSold, tx: Transaction, event: EventContext) -> None:
            write_down(tx, event)
            with contextlib.suppress(Exception):
                if way == "connect":
                    socket.create_connection(address).close()
                elif way == "send":
                    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as datagram:
                        datagram.sendto(b"?", address)
                else:
                    subprocess.run([sys.executable, "--version"], check=True)
                reached.append("handler")

        await shop.publish(sold(0), sold(1))
        await shop.sent()
        replayed = await Shadowed(events, books_url, nats.url).replay()
        # The connection of the test itself is not refused, and it is the first one.
        socket.create_connection(address).close()
        thread.join()

    event = {"connect": "socket.getaddrinfo", "send": "socket.sendto", "run": "subprocess.Popen"}
    assert replayed.outcomes == ["outside call"] * 2
    assert replayed.results[0]["reason"] == f"{event[way]} (not allowed in a shadow)"
    assert reached == ["server"]


ENDING = """
import sys
from chassis.shadow import outside

outside.Outside(clients=None, allowed=())
names = vars(outside)
# The interpreter does the same when it ends.
names.update(dict.fromkeys(names))
sys.audit("of an object that is freed last")
"""


def test_an_interpreter_that_ends_prints_no_error_of_the_hook() -> None:
    ended = run_code(ENDING)
    assert (ended.returncode, ended.stderr) == (0, "")


def _accept(server: socket.socket, reached: list[str]) -> None:
    server.accept()[0].close()
    reached.append("server")
