"""The shape of a log line: which values it has and how they become text.

Lines are JSON with trace_id, span_id and event_id, or short and coloured for a terminal.
Credentials in URLs are masked in every line. Rendering never fails: a value that cannot be shown is
replaced by the name of its type.
"""

from collections.abc import MutableMapping, Sequence
from datetime import UTC, datetime
from json.encoder import c_make_encoder, encode_basestring_ascii  # type: ignore[attr-defined]
from typing import Any

import structlog
from opentelemetry import trace
from structlog.typing import EventDict, Processor, WrappedLogger

from chassis.credentials import without_credentials

__all__ = ["console_processors", "json_processors", "shown", "value_processors"]


def value_processors(*, console: bool) -> Sequence[Processor]:
    """Return the processors that give a line its values; they run first."""
    return [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _add_trace,
        structlog.processors.TimeStamper(fmt="%H:%M:%S.%f", utc=False) if console else _add_time,
    ]


def json_processors(service: str, version: str) -> Sequence[Processor]:
    """Return the processors that render a line's values as JSON."""
    return [_JsonLine(service, version)]


def console_processors(*, colors: bool) -> Sequence[Processor]:
    """Return the processors that render a line's values for a terminal."""
    renderer = structlog.dev.ConsoleRenderer(
        colors=colors,
        pad_event_to=0,
        pad_level=False,
        exception_formatter=structlog.dev.plain_traceback,
    )
    return [_shorten_ids, _never_failing(renderer), _mask_credentials]


def shown(value: object) -> Any:
    """Return a value as JSON can hold it: a number, or its text, or the name of its type."""
    if value is None or isinstance(value, (bool, int, float)):
        return value
    try:
        return str(value) if isinstance(value, str) else repr(value)
    except Exception:
        return f"<{type(value).__name__}, which cannot be shown>"


# This one is kept, because json.dumps makes an encoder for each line, in as long as it renders.
_encode = c_make_encoder(None, shown, encode_basestring_ascii, None, ": ", ", ", False, False, True)


class _JsonLine:
    """The processor that renders a line's values as JSON, with the service's name and version.

    It is a single one, because a step for each value takes longer than the values.
    """

    def __init__(self, service: str, version: str) -> None:
        self._service = service
        self._version = version

    def __call__(self, logger: WrappedLogger, name: str, line: EventDict) -> str:
        line["service"] = self._service
        line["version"] = self._version
        if "exc_info" in line:
            line = structlog.processors.format_exc_info(logger, name, line)
        try:
            text = "".join(_encode(line, 0))
        except Exception:
            text = "".join(_encode({str(key): shown(line[key]) for key in line}, 0))
        return _masked(text)


def _never_failing(render: Processor) -> Processor:
    """Return `render`; if it fails, it runs again with all values of the line as text."""

    def rendered(logger: WrappedLogger, name: str, line: EventDict) -> Any:
        try:
            # A copy, because the renderer removes values from the line it is given.
            return render(logger, name, dict(line))
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


def _add_time(_: WrappedLogger, __: str, line: EventDict) -> EventDict:
    """Add the time in UTC, in the format of ISO 8601."""
    line["timestamp"] = datetime.now(UTC).isoformat().replace("+00:00", "Z")
    return line


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
    return _masked(str(line))


def _masked(text: str) -> str:
    """Mask the credentials of the URLs in a line."""
    return without_credentials(text) if "://" in text else text
