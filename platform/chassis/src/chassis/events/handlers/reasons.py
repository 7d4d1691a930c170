"""Why an event was not handled, in one line for people that every database can hold."""

from chassis.events.handlers.binding import Reject
from chassis.events.wire.cloudevents import Undecodable

__all__ = ["reason_of"]

_LONGEST = 1000


def reason_of(error: BaseException) -> str:
    """What was raised and what it said, on one line."""
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
