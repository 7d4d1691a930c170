"""Log lines: JSON that names its trace, short on a terminal, without credentials."""

import io
import json
import logging

import pytest
import structlog

from chassis import ServiceSettings
from chassis.telemetry import logging as service_logging
from chassis.telemetry import trace_context

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("own_logging")]

TRACEPARENT = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


def configured(**settings: str) -> io.StringIO:
    out = io.StringIO()
    service_logging.configure("bookshop", ServiceSettings(version="1.2", **settings), out)  # type: ignore[arg-type]
    return out


def test_a_line_is_json_with_its_service_version_and_values() -> None:
    out = configured()
    structlog.get_logger().info("book %s", "sold", price=5)
    line = json.loads(out.getvalue())
    assert (
        line.items()
        >= {
            "event": "book sold",
            "level": "info",
            "price": 5,
            "service": "bookshop",
            "version": "1.2",
        }.items()
    )
    assert line["timestamp"].endswith("Z")


def test_a_line_within_a_trace_names_it_without_recording() -> None:
    out = configured()
    with trace_context.attached(TRACEPARENT):
        structlog.get_logger().info("inside")
    structlog.get_logger().info("outside")
    inside, outside = map(json.loads, out.getvalue().splitlines())
    assert inside["trace_id"] == "0af7651916cd43dd8448eb211c80319c"
    assert inside["span_id"] == "b7ad6b7169203331"
    assert "trace_id" not in outside


def test_a_line_within_a_handler_names_its_event() -> None:
    out = configured()
    with structlog.contextvars.bound_contextvars(event_id="0190"):
        structlog.get_logger().info("inside")
    assert json.loads(out.getvalue())["event_id"] == "0190"


def test_log_lines_of_libraries_look_the_same() -> None:
    out = configured()
    with trace_context.attached(TRACEPARENT):
        logging.getLogger("some.library").warning("%d retries", 3)
    line = json.loads(out.getvalue())
    assert (line["event"], line["logger"]) == ("3 retries", "some.library")
    assert (line["level"], line["service"]) == ("warning", "bookshop")
    assert line["trace_id"] == "0af7651916cd43dd8448eb211c80319c"


def test_credentials_in_urls_are_masked_in_messages_values_and_tracebacks() -> None:
    out = configured()
    url = "postgresql://bookshop:s3cret@db/bookshop"
    structlog.get_logger().info(f"connecting to {url}", url=url)
    try:
        raise ConnectionError(url)
    except ConnectionError:
        structlog.get_logger().exception("failed")
        logging.getLogger("driver").exception("failed")
    assert "s3cret" not in out.getvalue()
    assert out.getvalue().count("postgresql://***@db/bookshop") >= 4


def test_an_exception_is_one_line_of_json() -> None:
    out = configured()
    try:
        raise ValueError("boom")
    except ValueError:
        structlog.get_logger().exception("failed")
    (line,) = map(json.loads, out.getvalue().splitlines())
    assert line["exception"].endswith("ValueError: boom")


def test_lines_below_the_level_are_dropped() -> None:
    out = configured(log_level="WARNING")
    structlog.get_logger().info("quiet")
    logging.getLogger("some.library").info("quiet")
    assert out.getvalue() == ""


def test_on_a_console_a_line_is_short() -> None:
    out = configured(log_format="console")
    with trace_context.attached(TRACEPARENT):
        structlog.get_logger().info("book sold", price=5)
    line = out.getvalue()
    assert "book sold" in line
    assert "trace_id=1c80319c" in line
    assert "0af765" not in line
    assert "service" not in line
