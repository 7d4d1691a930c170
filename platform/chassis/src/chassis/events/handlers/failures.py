"""What the log says of an event: its failure with all that finds it, its success if asked."""

from typing import Any

import structlog

from chassis.errors import is_unavailable
from chassis.events.handlers.binding import Reject
from chassis.events.handlers.reasons import reason_of
from chassis.events.wire.cloudevents import Undecodable

__all__ = ["failure", "log_handled"]

_log = structlog.get_logger("chassis.events")


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
    _log.info(f"{type} handled", event_id=event_id, key=key, **said)
