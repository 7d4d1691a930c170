"""Logging of a process: where its log lines come from, and which of them are written.

Write log lines with `structlog.get_logger()`; lines that libraries write with the standard
library's logging look the same. Logging never raises: a value that cannot be shown is named by its
type (`log_rendering.py`), and a line that cannot be written is counted (`log_output.py`).
"""

import functools
import inspect
import logging
import os
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TextIO

import structlog

from chassis.telemetry.log_output import LogOutput
from chassis.telemetry.log_rendering import (
    console_processors,
    json_processors,
    shown,
    value_processors,
)

if TYPE_CHECKING:
    from chassis.settings import ServiceSettings

__all__ = ["configure", "drain", "take_over"]

_LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})
# Libraries whose INFO or DEBUG lines say nothing about the service.
_QUIET = {
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    "grpc": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "nats": logging.CRITICAL,
    # It warns of each malformed entry of a header that any client can send.
    "opentelemetry.baggage.propagation": logging.ERROR,
    "sqlalchemy": logging.WARNING,
    "uvicorn": logging.WARNING,
}
# A warning of asyncio at the end of each TLS connection to the broker: the NATS client returns
# True from `eof_received`, which is harmless.
_EOF_WARNING = "returning true from eof_received() has no effect when using ssl"


def take_over(service: str, settings: "ServiceSettings") -> None:
    """Send all that this process logs, prints and warns of to its standard streams.

    From then on, `print` never raises and never waits for a reader either.
    """
    _open_missing_streams()
    out = LogOutput(sys.stdout)
    sys.stdout, sys.stderr = out, LogOutput(sys.stderr)
    logging.captureWarnings(True)
    configure(service, settings, out)


def _open_missing_streams() -> None:
    """Open /dev/null for each standard stream that the process was started without.

    Otherwise a file that is opened later would get the stream's number, and what is printed.
    """
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def drain(seconds: float) -> None:
    """Wait for lines that are still to be written, for at most `seconds` per stream."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, LogOutput):
            stream.drain(seconds)


def configure(
    service: str, settings: "ServiceSettings", stream: TextIO | LogOutput | None = None
) -> None:
    """Send every log line of this process to `stream`, by default standard output."""
    given = sys.stdout if stream is None else stream
    out = given if isinstance(given, LogOutput) else LogOutput(given)
    level = logging.getLevelNamesMapping()[settings.log_level]
    console = settings.log_format == "console" or (settings.log_format == "auto" and out.isatty())
    values = value_processors(console=console)
    rendering = (
        console_processors(colors=out.isatty())
        if console
        else json_processors(service, settings.version)
    )
    structlog.configure(
        processors=[*values, *rendering],
        wrapper_class=_bound_logger(level, out),
        logger_factory=lambda *_: _Lines(out),
        cache_logger_on_first_use=False,
    )
    handler = _Handler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*values, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, least))
    logging.getLogger("asyncio").addFilter(_is_other_than_eof_warning)


class _Lines:
    """The logger that structlog hands rendered lines to."""

    def __init__(self, out: LogOutput) -> None:
        self._out = out

    def msg(self, message: str) -> None:
        self._out.write(message + "\n")

    debug = info = warning = error = critical = msg


class _Handler(logging.Handler):
    """The handler that renders and writes the lines of the standard library's logging."""

    def __init__(self, out: LogOutput) -> None:
        super().__init__()
        self._out = out

    def emit(self, record: logging.LogRecord) -> None:
        try:
            try:
                line = self.format(record)
            except Exception:
                plain = logging.makeLogRecord(
                    vars(record)
                    | {"msg": f"{shown(record.msg)} {shown(record.args)}", "args": None}
                )
                line = self.format(plain)
        except Exception as error:
            self._out.drop(1, error)
        else:
            self._out.write(line + "\n")


def _bound_logger(level: int, out: LogOutput) -> type:
    """Return structlog's logger class for `level`, with methods that never raise."""
    filtering = structlog.make_filtering_bound_logger(level)
    methods = {
        name: _never_raising(name, method, out)
        for name, method in vars(filtering).items()
        if inspect.isfunction(method)
        and not (name.startswith("_") or inspect.iscoroutinefunction(method))
    }
    return type("BoundLogger", (filtering,), methods)


def _never_raising(name: str, method: Callable[..., Any], out: LogOutput) -> Callable[..., None]:
    """Return the log method; if it fails, it logs its arguments as text, or counts the line."""
    level = "error" if name == "exception" else name

    @functools.wraps(method)
    def log(self: Any, *arguments: Any, **values: Any) -> None:
        try:
            method(self, *arguments, **values)
        except Exception:
            try:
                as_text = {name: shown(value) for name, value in values.items()}
                text = " ".join(str(shown(argument)) for argument in arguments)
                method_name = level if level in _LEVELS else "warning"
                self._proxy_to_logger(method_name, text, **as_text)
            except Exception as error:
                out.drop(1, error)

    return log


def _is_other_than_eof_warning(record: logging.LogRecord) -> bool:
    return record.msg != _EOF_WARNING
