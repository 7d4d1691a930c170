"""An unavailable tracing backend costs a log line a minute, and nothing else."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc.aio
import pytest
from bookstore_process import BookstoreProcess
from opentelemetry.exporter.otlp.proto.grpc import exporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult

from bookstore.v1 import BooksServiceAsyncStub, BooksServiceStub, SellBookRequest
from chassis import ServiceSettings
from chassis.telemetry import tracing
from localservers import free_port


@pytest.fixture(params=["unavailable", "hanging"])
def endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "unavailable":
        yield f"http://127.0.0.1:{free_port()}"
        return
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


async def test_a_service_starts_works_and_ends_without_the_backend(
    tmp_path: Path, endpoint: str, empty_database: Callable[[str], str]
) -> None:
    bookstore = BookstoreProcess(
        tmp_path,
        otlp_endpoint=endpoint,
        database_url=empty_database("bookstore"),
        shutdown_grace_seconds="600",
    )
    with bookstore:
        await bookstore.wait_for_answer("/readyz", 200)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{bookstore.grpc_port}") as channel:
            books: BooksServiceAsyncStub = BooksServiceStub(channel)
            # If calls waited for the backend, they would take longer than the timeout.
            async with asyncio.timeout(60):
                for _ in range(200):
                    await books.SellBook(SellBookRequest(book_id="1"))
        bookstore.send_signal()
        assert await bookstore.wait_for_exit() == 0
    # gRPC's core and tracebacks would write lines without the logger.
    unexpected = [line for line in bookstore.log_lines() if "level" not in line]
    assert unexpected == []


class Stuck(SpanExporter):
    """An exporter that hangs."""

    def __init__(self) -> None:
        self.begun, self.release = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.begun.set()
        self.release.wait()
        return SpanExportResult.FAILURE


async def test_shutdown_waits_for_the_exporter_no_longer_than_allowed() -> None:
    stuck = Stuck()
    tracing.configure("bookshop", ServiceSettings(), stuck)
    with tracing.start_span("sale"):
        pass
    await asyncio.wait_for(tracing.shutdown(0.3), 60)
    assert await asyncio.to_thread(stuck.begun.wait, 60), (
        "the exporter was called, and shutdown did not wait for it"
    )
    stuck.release.set()


async def test_errors_of_the_exporter_are_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracing.configure("bookshop", ServiceSettings(otlp_endpoint="http://127.0.0.1:1"))
    for number in range(20):
        exporter.logger.error(f"Failed to export, try {number}")
    await tracing.shutdown(1)
    failures = [line for line in caplog.messages if line.startswith("Failed to export")]
    assert len(failures) == 1
