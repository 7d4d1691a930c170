"""Reasons and log lines for events: failed, rejected or handled."""

from typing import Any

import structlog

from chassis.errors import is_unavailable
from chassis.events.handlers.binding import Reject
from chassis.events.wire.attributes import Undecodable

__all__ = ["failure", "log_handled", "reason_of"]

_log = structlog.get_logger("chassis.events")
_LONGEST = 1000


def failure(
    error: BaseException, *, event_id: str, type: str, key: str, handler: str, first: bool
) -> dict[str, Any]:
    """What a log line says of a handler that failed.

    The first try's has the traceback, if the error is nobody's intention: a handler that rejects,
    a called service that is away and data that cannot be decoded need none.
    """
    said: dict[str, Any] = {
        "event_id": event_id,
        "type": type,
        "key": key,
        "handler": handler,
        "reason": reason_of(error),
    }
    meant = isinstance(error, (Reject, Undecodable)) or is_unavailable(error)
    return {**said, "exc_info": error} if first and not meant else said


def log_handled(type: str, event_id: str, key: str, **said: object) -> None:
    """One line for an event that took effect, where the setting log_events asks for it."""
    _log.info("event handled", type=type, event_id=event_id, key=key, **said)


def reason_of(error: BaseException) -> str:
    """Return the error's kind and message on one line that every database can hold."""
    if isinstance(error, Reject):
        kind = "rejected"
    elif isinstance(error, Undecodable):
        kind = "undecodable"
    else:
        kind = type(error).__name__
    return f"{kind}: {_first_line(error)}"[:_LONGEST]


def _first_line(error: BaseException) -> str:
    try:
        first = (str(error).splitlines() or [""])[0][:_LONGEST]
    except Exception:  # an error that cannot even be shown is still its event's
        return ""
    # PostgreSQL holds no NUL, and nobody half a character.
    return first.encode("utf-8", "backslashreplace").decode().replace("\x00", "\\x00")
