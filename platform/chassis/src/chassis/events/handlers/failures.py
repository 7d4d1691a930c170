"""Failures of handlers: their errors, their reasons, and what the log says of them."""

from typing import Any

import structlog

from chassis.errors import is_unavailable
from chassis.events.wire.attributes import Undecodable

__all__ = ["FAILURES", "Reject", "failure_values", "log_handled", "reason_of"]

_log = structlog.get_logger("chassis.events")
_MAX_CHARACTERS = 1000


class Reject(Exception):
    """An error that a handler raises for an event that can never be handled.

    The event becomes a dead letter at once.
    """


# Errors that count as a handler's failure. SystemExit is one of them, because a library that calls
# sys.exit must not end the process.
FAILURES = (Exception, SystemExit)


def failure_values(
    error: BaseException, *, event_id: str, type: str, key: str, handler: str, first: bool
) -> dict[str, Any]:
    """Return the key-values of the log line for a handler that failed.

    The line of the first try has the traceback, unless the error is an expected one: a rejection,
    data that cannot be decoded, or a called service that is unavailable.
    """
    values: dict[str, Any] = {
        "event_id": event_id,
        "type": type,
        "key": key,
        "handler": handler,
        "reason": reason_of(error),
    }
    expected = isinstance(error, (Reject, Undecodable)) or is_unavailable(error)
    return {**values, "exc_info": error} if first and not expected else values


def log_handled(type: str, event_id: str, key: str, **values: object) -> None:
    """Log an event that took effect; callers do so if the setting `log_events` is on."""
    _log.info("event handled", type=type, event_id=event_id, key=key, **values)


def reason_of(error: BaseException) -> str:
    """Return the error's kind and message on one line that every database can hold."""
    if isinstance(error, Reject):
        kind = "rejected"
    elif isinstance(error, Undecodable):
        kind = "undecodable"
    else:
        kind = type(error).__name__
    return f"{kind}: {_first_line(error)}"[:_MAX_CHARACTERS]


def _first_line(error: BaseException) -> str:
    """Return the first line of an error's text, in characters that a database can store."""
    try:
        first = (str(error).splitlines() or [""])[0][:_MAX_CHARACTERS]
    except Exception:  # An error class may raise in its __str__.
        return ""
    # PostgreSQL cannot store NUL, and no database can store lone surrogates.
    return first.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
