"""A tracing backend that is away or hangs costs a log line now and then, and nothing else."""

import asyncio
import socket
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import grpc.aio
import pytest
from opentelemetry.exporter.otlp.proto.grpc import exporter
from opentelemetry.sdk.trace import ReadableSpan
from opentelemetry.sdk.trace.export import SpanExporter, SpanExportResult
from stall import Stall

from bookstore.v1 import BooksServiceAsyncStub, BooksServiceStub, SellBookRequest
from chassis import ServiceSettings
from chassis.telemetry import tracing
from localservers import free_port


@pytest.fixture(params=["away", "hanging"])
def endpoint(request: pytest.FixtureRequest) -> Iterator[str]:
    if request.param == "away":
        yield f"http://127.0.0.1:{free_port()}"
        return
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        yield f"http://127.0.0.1:{silent.getsockname()[1]}"


async def test_a_service_starts_works_and_ends_without_it(
    tmp_path: Path, endpoint: str, empty_database: Callable[[str], str]
) -> None:
    stall = Stall(
        tmp_path,
        otlp_endpoint=endpoint,
        database_url=empty_database("bookstore"),
        shutdown_grace_seconds="600",
    )
    with stall:
        await stall.answers("/readyz", 200)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{stall.grpc_port}") as channel:
            books: BooksServiceAsyncStub = BooksServiceStub(channel)
            # To send the spans of each by itself would take these ten minutes.
            async with asyncio.timeout(60):
                for _ in range(200):
                    await books.SellBook(SellBookRequest(book_id="1"))
        stall.signal()
        assert await stall.ended() == 0
    # Lines that did not come by the logger: gRPC's core and tracebacks write past it.
    unexpected = [line for line in stall.lines() if "level" not in line]
    assert unexpected == []


class Stuck(SpanExporter):
    """Never done with what it was given."""

    def __init__(self) -> None:
        self.begun, self.release = threading.Event(), threading.Event()

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        self.begun.set()
        self.release.wait()
        return SpanExportResult.FAILURE


async def test_sending_what_is_left_at_the_end_takes_no_longer_than_allowed() -> None:
    stuck = Stuck()
    tracing.configure("bookshop", ServiceSettings(), stuck)
    with tracing.start_span("sale"):
        pass
    await asyncio.wait_for(tracing.shutdown(0.3), 60)
    assert await asyncio.to_thread(stuck.begun.wait, 60), "it was asked, and nobody waits for it"
    stuck.release.set()


async def test_what_its_exporter_complains_of_is_logged_once_a_minute(
    caplog: pytest.LogCaptureFixture,
) -> None:
    tracing.configure("bookshop", ServiceSettings(otlp_endpoint="http://127.0.0.1:1"))
    for number in range(20):
        exporter.logger.error(f"Failed to export, try {number}")
    await tracing.shutdown(1)
    failures = [line for line in caplog.messages if line.startswith("Failed to export")]
    assert len(failures) == 1
