"""Times of CloudEvents as texts (RFC 3339)."""

from datetime import UTC, datetime

from chassis.events.wire.attributes import Undecodable

__all__ = ["TWO_DIGITS", "format_time", "parse_time"]

TWO_DIGITS = [f"{number:02}" for number in range(60)]
"""Numbers as two digits, for times."""


def format_time(time: datetime) -> str:
    """Return a time as CloudEvents' `time`, in UTC.

    Raises:
        ValueError: the time has no time zone.
    """
    if time.tzinfo is not UTC:
        if time.tzinfo is None:
            raise ValueError("CloudEvents attribute 'time' has no time zone")
        time = time.astimezone(UTC)
    year, microsecond = time.year, time.microsecond
    if not microsecond or year < 1000:
        return f"{time.isoformat()[:-6]}Z"
    # This takes half of the time of isoformat.
    return (
        f"{year}-{TWO_DIGITS[time.month]}-{TWO_DIGITS[time.day]}T{TWO_DIGITS[time.hour]}"
        f":{TWO_DIGITS[time.minute]}:{TWO_DIGITS[time.second]}.{microsecond:06}Z"
    )


def parse_time(text: str) -> datetime:
    """Return a time in UTC.

    Raises:
        Undecodable: the text is not a time.
    """
    try:
        time = datetime.fromisoformat(text)
    except ValueError:
        try:
            # RFC 3339 allows leap seconds and lower-case letters; fromisoformat does not.
            time = datetime.fromisoformat(text.upper().replace(":60", ":59"))
        except ValueError:
            raise Undecodable(f"time {text!r} is not an RFC 3339 time") from None
    if time.tzinfo is None:
        raise Undecodable(f"time {text!r} has no offset")
    if time.tzinfo is UTC:
        return time
    try:
        return time.astimezone(UTC)
    except OverflowError:
        raise Undecodable(f"time {text!r} is out of range") from None
