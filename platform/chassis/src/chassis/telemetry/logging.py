"""Log lines: JSON with trace_id, span_id and event_id, short and coloured on a terminal.

Write them with `structlog.get_logger()`; what libraries write by the standard library's logging
comes out the same way. Credentials in URLs are masked in every line.
"""

import logging
import sys
from collections.abc import MutableMapping
from typing import TYPE_CHECKING, Any, TextIO

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from chassis.settings import without_credentials

if TYPE_CHECKING:
    from chassis.settings import ServiceSettings

__all__ = ["configure"]


def configure(service: str, settings: "ServiceSettings", stream: TextIO | None = None) -> None:
    """Send every log line of this process to `stream`, by default standard output."""
    out = sys.stdout if stream is None else stream
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
        rendering: list[Processor] = [_short, _console(out.isatty()), _masked]
    else:
        shared.append(structlog.processors.TimeStamper(fmt="iso", utc=True))
        rendering = [
            _origin(service, settings.version),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
            _masked,
        ]
    structlog.configure(
        processors=[*shared, *rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=out),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(out)
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


# Libraries whose INFO or DEBUG tells nothing about the service.
_QUIET = {
    "alembic": logging.WARNING,
    "asyncio": logging.WARNING,
    "grpc": logging.WARNING,
    "httpx": logging.WARNING,
    "httpcore": logging.WARNING,
    "nats": logging.CRITICAL,
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
    # The last digits tell traces and events apart on a screen.
    line["timestamp"] = line["timestamp"][:12]
    line.pop("span_id", None)
    for name in ("trace_id", "event_id"):
        if name in line:
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
