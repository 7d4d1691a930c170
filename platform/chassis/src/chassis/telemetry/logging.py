"""Log lines: JSON with trace_id, span_id and event_id, short and coloured on a terminal.

Write them with `structlog.get_logger()`; what libraries write by the standard library's logging
comes out the same way. Credentials in URLs are masked in every line.

To log never fails whoever does it: a value that cannot be shown is named by its type, and a line
that cannot be written is counted (`log_output.py`).
"""

import functools
import inspect
import logging
import os
import sys
from collections.abc import Callable, MutableMapping
from typing import TYPE_CHECKING, Any, TextIO

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from chassis.settings import without_credentials
from chassis.telemetry.log_output import LogOutput

if TYPE_CHECKING:
    from chassis.settings import ServiceSettings

__all__ = ["configure", "drain", "take_over"]


def take_over(service: str, settings: "ServiceSettings") -> None:
    """Send what this process logs, prints and warns of to standard output, as log lines can be.

    From then on `print` fails nobody either.
    """
    _stand_in_for_missing_streams()
    out = LogOutput(sys.stdout)
    sys.stdout, sys.stderr = out, LogOutput(sys.stderr)
    logging.captureWarnings(True)
    configure(service, settings, out)


def _stand_in_for_missing_streams() -> None:
    """A file that is opened later would get the number of a stream that is not there."""
    for number in (0, 1, 2):
        try:
            os.fstat(number)
        except OSError:
            os.open(os.devnull, os.O_RDWR)


def drain(seconds: float) -> None:
    """Wait for lines that are still to be written, at most so long."""
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
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.add_log_level,
        _ids,
    ]
    if console:
        shared.append(structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False))
        rendering: list[Processor] = [
            _short,
            _careful(_console(out.isatty()), copied=True),
            _masked,
        ]
    else:
        shared.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
        rendering = [
            _origin(service, settings.version),
            structlog.processors.format_exc_info,
            _careful(structlog.processors.JSONRenderer(default=_shown)),
            _masked,
        ]
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=_bound_logger(level, out),
        logger_factory=lambda *_: _Lines(out),
        cache_logger_on_first_use=False,
    )
    handler = _Handler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendering],
        )
    )
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(level)
    for name, least in _QUIET.items():
        logging.getLogger(name).setLevel(max(level, least))
    logging.getLogger("asyncio").addFilter(_tells_something)


class _Lines:
    """What structlog hands finished lines to."""

    def __init__(self, out: LogOutput) -> None:
        self._out = out

    def msg(self, message: str) -> None:
        self._out.write(message + "\n")

    debug = info = warning = error = critical = msg


class _Handler(logging.Handler):
    """The same for the standard library's logging."""

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
                    | {"msg": f"{_shown(record.msg)} {_shown(record.args)}", "args": None}
                )
                line = self.format(plain)
        except Exception as error:
            self._out.drop(1, error)
        else:
            self._out.write(line + "\n")


def _bound_logger(level: int, out: LogOutput) -> type:
    """structlog's own of that level, with methods that raise nothing."""
    filtering = structlog.make_filtering_bound_logger(level)
    methods = {
        name: _safe(name, method, out)
        for name, method in vars(filtering).items()
        if inspect.isfunction(method) and not (name.startswith("_") or _is_async(method))
    }
    return type("BoundLogger", (filtering,), methods)


def _is_async(method: Callable[..., Any]) -> bool:
    return inspect.iscoroutinefunction(method)


def _safe(name: str, method: Callable[..., Any], out: LogOutput) -> Callable[..., None]:
    level = "error" if name == "exception" else name

    @functools.wraps(method)
    def log(self: Any, *arguments: Any, **values: Any) -> None:
        try:
            method(self, *arguments, **values)
        except Exception:
            try:
                shown = {name: _shown(value) for name, value in values.items()}
                text = " ".join(str(_shown(argument)) for argument in arguments)
                method_name = level if level in _LEVELS else "warning"
                self._proxy_to_logger(method_name, text, **shown)
            except Exception as error:
                out.drop(1, error)

    return log


_LEVELS = frozenset({"debug", "info", "warning", "error", "critical"})


def _careful(render: Processor, *, copied: bool = False) -> Processor:
    """As `render` does; a line that it cannot do, with all its values as text.

    `copied` is for one that takes values out of the line.
    """

    def rendered(logger: WrappedLogger, name: str, line: EventDict) -> Any:
        try:
            return render(logger, name, dict(line) if copied else line)
        except Exception:
            return render(logger, name, {str(key): _shown(line[key]) for key in line})

    return rendered


def _shown(value: object) -> Any:
    """A value as JSON can have it; one that cannot be shown by its type."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    try:
        return str(value) if isinstance(value, str) else repr(value)
    except Exception:
        return f"<{type(value).__name__}, which cannot be shown>"


def _tells_something(record: logging.LogRecord) -> bool:
    return record.msg != _END_OVER_TLS


# asyncio warns so at the end of each connection to the broker over TLS, of the NATS client's ways.
_END_OVER_TLS = "returning true from eof_received() has no effect when using ssl"
# Libraries whose INFO or DEBUG tells nothing about the service.
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


def _ids(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        line["trace_id"] = f"{context.trace_id:032x}"
        line["span_id"] = f"{context.span_id:016x}"
    return line


def _origin(service: str, version: str) -> Processor:
    def add(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
        line["service"] = service
        line["version"] = version
        return line

    return add


def _short(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    # The last digits tell traces and events apart on a screen; who looks for one that failed needs
    # all of them.
    line["timestamp"] = line["timestamp"][:12]
    line.pop("span_id", None)
    failed = line["level"] not in ("debug", "info")
    for name in ("trace_id", "event_id"):
        if name in line and not (failed and name == "event_id"):
            line[name] = line[name][-8:]
    return line


def _console(colors: bool) -> Processor:
    return structlog.dev.ConsoleRenderer(
        colors=colors, pad_event_to=0, pad_level=False, exception_formatter=_plain_traceback
    )


def _plain_traceback(out: TextIO, exc_info: Any) -> None:
    structlog.dev.plain_traceback(out, exc_info)


def _masked(_: WrappedLogger, __: str, line: str | MutableMapping[str, Any]) -> str:
    text = str(line)
    return without_credentials(text) if "://" in text else text
