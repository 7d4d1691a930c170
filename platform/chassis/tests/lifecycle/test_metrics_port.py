"""Metrics on a separate port: only there, and until the process ends."""

import asyncio
from collections.abc import Callable
from pathlib import Path

import grpc.aio
import httpx
import pytest
from bookstore_process import BookstoreProcess

from bookstore.v1 import BooksServiceAsyncStub, BooksServiceStub, SellBookRequest
from localservers import NatsServer, free_port

NewDatabase = Callable[[str], str]
# A process may start slowly on a busy machine.
pytestmark = pytest.mark.timeout(300)
# A grace time longer than any test, so that a process does not end because of it.
NEVER = "600"


@pytest.mark.parametrize("module", ["bookstore_service", "bookstore_service.without_routes"])
async def test_metrics_are_served_only_there_while_the_process_works(
    tmp_path: Path, nats: NatsServer, empty_database: NewDatabase, module: str
) -> None:
    port = free_port()
    bookstore = BookstoreProcess(
        tmp_path,
        module=module,
        nats_url=nats.url,
        database_url=empty_database("bookstore"),
        metrics_port=str(port),
        shutdown_grace_seconds=NEVER,
        shutdown_delay_seconds="2",
    )
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}") as monitoring:
        with bookstore:
            await bookstore.wait_for_answer("/readyz", 200)
            assert "events_published_total" in (await monitoring.get("/metrics")).text
            assert (await monitoring.get("/livez")).status_code == 404
            answer = await bookstore.get("/metrics")
            assert answer is not None
            assert answer.status_code == 404

            bookstore.send_signal()
            draining = await bookstore.wait_for_answer("/readyz", 503)
            assert draining.json()["status"] == "draining"
            assert (await monitoring.get("/metrics")).status_code == 200
            assert await bookstore.wait_for_exit() == 0
    assert bookstore.logged_events()[-1] == "service stopped"


async def test_metrics_are_served_until_the_last_handler_has_ended(
    tmp_path: Path, nats: NatsServer, empty_database: NewDatabase
) -> None:
    port = free_port()
    bookstore = BookstoreProcess(
        tmp_path,
        nats_url=nats.url,
        database_url=empty_database("bookstore"),
        metrics_port=str(port),
        shutdown_grace_seconds=NEVER,
    )
    bookstore.hold_back("wrapping")
    with bookstore:
        await bookstore.wait_until_ready()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{bookstore.grpc_port}") as channel:
            books: BooksServiceAsyncStub = BooksServiceStub(channel)
            await books.SellBook(SellBookRequest(book_id="7"))
        await bookstore.wait_for_log("wrapping")
        bookstore.send_signal()
        async with asyncio.timeout(100):
            while await bookstore.get("/livez") is not None:
                await asyncio.sleep(0.05)
        async with httpx.AsyncClient() as monitoring:
            answer = await monitoring.get(f"http://127.0.0.1:{port}/metrics")
            assert answer.status_code == 200
        bookstore.release("wrapping")
        assert await bookstore.wait_for_exit() == 0


async def test_a_port_in_use_is_reported_with_its_variable(tmp_path: Path) -> None:
    bookstore = BookstoreProcess(tmp_path)
    bookstore.environment["APP_METRICS_PORT"] = bookstore.environment["APP_HTTP_PORT"]
    with bookstore:
        assert await bookstore.wait_for_exit() == 1
    (reason,) = [line["reason"] for line in bookstore.log_lines() if line.get("level") == "error"]
    assert "is in use" in reason
    assert reason.endswith("move this service with APP_METRICS_PORT")
