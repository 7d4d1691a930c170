"""The shape of a log line: which values it has and how they become text.

Lines are JSON with trace_id, span_id and event_id, or short and coloured for a terminal.
Credentials in URLs are masked in every line. Rendering never fails: a value that cannot be shown is
replaced by the name of its type.
"""

from collections.abc import MutableMapping, Sequence
from typing import Any

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from chassis.credentials import without_credentials

__all__ = ["console_processors", "json_processors", "shown", "value_processors"]


def value_processors(*, console: bool) -> Sequence[Processor]:
    """Return the processors that give a line its values; they run first."""
    time = (
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False)
        if console
        else structlog.processors.TimeStamper(fmt="iso", utc=True)
    )
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.PositionalArgumentsFormatter(),
        structlog.processors.add_log_level,
        _add_trace,
        time,
    ]


def json_processors(service: str, version: str) -> Sequence[Processor]:
    """Return the processors that render a line's values as JSON."""
    return [
        _add_origin(service, version),
        structlog.processors.format_exc_info,
        _never_failing(structlog.processors.JSONRenderer(default=shown)),
        _mask_credentials,
    ]


def console_processors(*, colors: bool) -> Sequence[Processor]:
    """Return the processors that render a line's values for a terminal."""
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors,
        pad_event_to=0,
        pad_level=False,
        exception_formatter=structlog.dev.plain_traceback,
    )
    return [_shorten_ids, _never_failing(renderer, copies=True), _mask_credentials]


def shown(value: object) -> Any:
    """Return a value as JSON can hold it: a number, or its text, or the name of its type."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    try:
        return str(value) if isinstance(value, str) else repr(value)
    except Exception:
        return f"<{type(value).__name__}, which cannot be shown>"


def _never_failing(render: Processor, *, copies: bool = False) -> Processor:
    """Return `render`; if it fails, it runs again with all values of the line as text.

    `copies` is for a renderer that removes values from the line it is given.
    """

    def rendered(logger: WrappedLogger, name: str, line: EventDict) -> Any:
        try:
            return render(logger, name, dict(line) if copies else line)
        except Exception:
            return render(logger, name, {str(key): shown(line[key]) for key in line})

    return rendered


def _add_trace(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Add the ids of the present span."""
    context = trace.get_current_span().get_span_context()
    if context.is_valid:
        line["trace_id"] = f"{context.trace_id:032x}"
        line["span_id"] = f"{context.span_id:016x}"
    return line


def _add_origin(service: str, version: str) -> Processor:
    """Return a processor that adds the service's name and version."""

    def add(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
        line["service"] = service
        line["version"] = version
        return line

    return add


def _shorten_ids(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Keep the last 8 digits of trace_id and event_id, which tell them apart on a screen.

    A warning or an error keeps its whole event_id, because an operator needs it to find the event.
    """
    line["timestamp"] = line["timestamp"][:12]
    line.pop("span_id", None)
    failed = line["level"] not in ("debug", "info")
    for name in ("trace_id", "event_id"):
        if name in line and not (failed and name == "event_id"):
            line[name] = line[name][-8:]
    return line


def _mask_credentials(_: WrappedLogger, __: str, line: str | MutableMapping[str, Any]) -> str:
    """Mask the credentials of the URLs in a line."""
    text = str(line)
    return without_credentials(text) if "://" in text else text
