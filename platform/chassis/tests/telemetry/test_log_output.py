"""Logging never fails and never blocks; lost lines are counted and reported."""

import io
import json
import logging
import os
import pty
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TextIO

import pytest
import structlog
from prometheus_client import REGISTRY

from chassis import ServiceSettings
from chassis.telemetry import logging as service_logging
from chassis.telemetry.log_output import LogOutput

pytestmark = pytest.mark.usefixtures("own_logging")


def configure(stream: TextIO | LogOutput, log_format: str = "json") -> None:
    service_logging.configure("bookshop", ServiceSettings(log_format=log_format), stream)


def by_structlog(text: str) -> None:
    structlog.get_logger().info(text)


def by_logging(text: str) -> None:
    logging.getLogger("some.library").warning(text)


def dropped() -> float:
    return REGISTRY.get_sample_value("log_lines_dropped_total") or 0


@pytest.mark.parametrize("write", [by_structlog, by_logging])
@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize("trouble", ["reader gone", "disk full", "closed", "no output"])
def test_a_line_that_cannot_be_written_is_only_counted(
    trouble: str, log_format: str, write: Callable[[str], None]
) -> None:
    stream: TextIO | None
    if trouble == "reader gone":
        reader, writer = os.pipe()
        os.close(reader)
        stream = os.fdopen(writer, "w", encoding="utf-8")
    elif trouble == "disk full":
        if not Path("/dev/full").exists():
            pytest.skip("this system has no /dev/full")
        stream = open("/dev/full", "w", encoding="utf-8")  # noqa: SIM115
    elif trouble == "closed":
        stream = io.StringIO()
        stream.close()
    else:
        stream = None
    configure(LogOutput(stream), log_format)
    before = dropped()
    for _ in range(3):
        write("sold")
    assert dropped() - before == (0 if stream is None else 3)
    if trouble in ("reader gone", "disk full") and stream is not None:
        stream.close()


def test_a_later_line_says_how_many_lines_are_missing(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
    with pipe.open("w", encoding="utf-8") as stream:
        configure(stream)
        by_structlog("first")
        assert lines_of(reader) == ["first"]
        os.close(reader)
        by_structlog("lost")
        by_logging("lost too")
        reader = os.open(pipe, os.O_RDONLY | os.O_NONBLOCK)
        by_structlog("back")
        by_structlog("last")
        text = os.read(reader, 65536).decode()
        os.close(reader)
    back, report, last = map(json.loads, text.splitlines())
    assert (back["event"], last["event"]) == ("back", "last")
    assert report["event"] == "log lines dropped"
    assert (report["level"], report["lines"], report["reason"]) == ("warning", 2, "Broken pipe")


def lines_of(reader: int) -> list[str]:
    return [json.loads(line)["event"] for line in os.read(reader, 65536).decode().splitlines()]


def test_a_reader_that_pauses_blocks_nothing_and_gets_whole_lines_in_order_later() -> None:
    reader, writer = os.pipe()
    before = dropped()
    with os.fdopen(writer, "w", encoding="utf-8") as stream:
        out = LogOutput(stream)
        configure(out)
        sent = 3000
        for number in range(sent):  # 3 MB are more than the pipe and LogOutput hold.
            structlog.get_logger().info("sold", number=number, text="x" * 1000)
        lost = int(dropped() - before)
        assert 0 < lost < sent
        received: list[dict[str, Any]] = []
        read = threading.Thread(target=read_all, args=(reader, received))
        read.start()
        wait_until(lambda: any(line["event"] == "log lines dropped" for line in received))
        by_structlog("last")
        out.drain(60)
    read.join(60)
    assert [line["number"] for line in received if "number" in line] == list(range(sent - lost))
    report = [line["lines"] for line in received if line["event"] == "log lines dropped"]
    assert report == [lost]
    assert received[-1]["event"] == "last"


def read_all(reader: int, received: list[dict[str, Any]]) -> None:
    with os.fdopen(reader, encoding="utf-8") as lines:
        received.extend(json.loads(line) for line in lines)


def wait_until(condition: Callable[[], bool], seconds: float = 60) -> None:
    ends_at = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.01)


class Unshowable:
    def __repr__(self) -> str:
        raise RuntimeError("no words for it")


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_value_that_cannot_be_shown_is_named_by_its_type(log_format: str) -> None:
    out = io.StringIO()
    configure(out, log_format)
    circle: dict[str, object] = {}
    circle["self"] = circle
    with structlog.contextvars.bound_contextvars(bound=Unshowable()):
        structlog.get_logger().info("sold", book=Unshowable(), nested={"x": [Unshowable()]})
    structlog.get_logger().info("returned", circle=circle, key={(1, 2): 3})
    structlog.get_logger().info("%d books, %s", "seven", Unshowable())
    structlog.get_logger().bind(book=Unshowable()).error("bound")
    logging.getLogger("some.library").warning("%d books", "seven")
    logging.getLogger("some.library").warning("a book %s", Unshowable())
    lines = out.getvalue().splitlines()
    assert len(lines) == 6
    for line, text in zip(
        lines, ["sold", "returned", "%d books, %s", "bound", "%d books", "a book %s"], strict=True
    ):
        assert text in line
    assert sum("<Unshowable, which cannot be shown>" in line for line in lines) >= 3


def run(program: str, **environment: str) -> bytes:
    """Run a program and return the bytes that it writes to a pipe."""
    in_any_locale = program.encode("ascii", "backslashreplace").decode()
    return subprocess.run(
        [sys.executable, "-c", in_any_locale],
        env=os.environ | environment,
        stdout=subprocess.PIPE,
        check=True,
    ).stdout


PROGRAM = """
import logging, structlog
from chassis import ServiceSettings
from chassis.telemetry import logging as service_logging
for log_format in ("console", "json"):
    service_logging.take_over("probe", ServiceSettings(log_format=log_format))
    structlog.get_logger().info("größer als 5 €, ✓", name="Łódź", half="\\ud800")
    logging.getLogger("lib").warning("größer als 5 €, ✓")
print("größer \\ud800")
"""
LEGACY = {"PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0", "LC_ALL": "C"}


@pytest.mark.parametrize("environment", [LEGACY, {"PYTHONIOENCODING": "latin-1"}])
def test_pipes_are_utf_8_in_every_locale(environment: dict[str, str]) -> None:
    first, second, third, fourth, printed = run(PROGRAM, **environment).decode().splitlines()
    assert "größer als 5 €, ✓" in first
    assert "größer als 5 €, ✓" in second
    assert json.loads(third)["event"] == json.loads(fourth)["event"] == "größer als 5 €, ✓"
    assert printed == r"größer \ud800"


def test_a_terminal_that_lacks_a_character_shows_its_number() -> None:
    control, terminal = pty.openpty()
    with os.fdopen(terminal, "w", encoding="ascii") as stream:
        configure(stream, "console")
        by_structlog("größer als 5 €")
        shown = os.read(control, 1000).decode("ascii")
    os.close(control)
    assert r"gr\xf6\xdfer als 5 \u20ac" in shown


def test_print_and_warnings_never_fail_either() -> None:
    program = """
import os, sys, warnings
from chassis import ServiceSettings
from chassis.telemetry import logging as service_logging
reader, writer = os.pipe()
os.dup2(writer, 1), os.dup2(writer, 2)
os.close(writer), os.close(reader)
service_logging.take_over("probe", ServiceSettings())
print("x" * 100_000, "größer", flush=True)
print("x", file=sys.stderr)
sys.stdout.flush()
warnings.warn("old")
os._exit(7)
"""
    assert subprocess.run([sys.executable, "-c", program]).returncode == 7


def test_a_file_never_gets_the_descriptor_of_a_missing_standard_output(tmp_path: Path) -> None:
    program = """
import os, sys
os.closerange(0, 3)
sys.stdin = sys.stdout = sys.stderr = None
from chassis import ServiceSettings
from chassis.telemetry import logging as service_logging
import structlog
service_logging.take_over("probe", ServiceSettings())
structlog.get_logger().info("sold")
print("sold")
with open(sys.argv[1], "w") as file:
    file.write(str(file.fileno()))
os._exit(7)
"""
    file = tmp_path / "file"
    assert subprocess.run([sys.executable, "-c", program, str(file)]).returncode == 7
    assert int(file.read_text(encoding="utf-8")) > 2
