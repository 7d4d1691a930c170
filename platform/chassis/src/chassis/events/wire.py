"""The transport's own headers, beside those of CloudEvents."""

from collections.abc import Mapping

from chassis.database.tables import LONGEST_NAME

__all__ = [
    "ASK",
    "GENERATION",
    "NUMBER",
    "RANK",
    "event_id",
    "generation",
    "header",
    "integer",
    "number_value",
    "operator_subject",
    "wake_subject",
]

NUMBER = "ce-sequence"  # CloudEvents sequence extension: counts within the subject
GENERATION = "slipway-generation"
RANK = "slipway-rank"
_LONGEST_GENERATION = 36
_MOST_DIGITS = 18  # of what a database holds as an integer


def number_value(number: int) -> str:
    """A number as the sequence extension has it: strings that sort as their numbers do."""
    return f"{number:016d}"


def header(headers: Mapping[str, str], name: str) -> str | None:
    """A header in any case."""
    value = headers.get(name)
    if value is None:
        value = next((v for k, v in headers.items() if k.lower() == name), None)
    return value


def event_id(headers: Mapping[str, str]) -> str:
    """The event's id as it is on the wire, to compare; empty if it is none that is kept."""
    id = header(headers, "ce-id") or ""
    return id if len(id) <= LONGEST_NAME and id.isprintable() else ""


def generation(headers: Mapping[str, str]) -> str:
    """The generation of the counters that numbered it; empty in what no relay has sent."""
    value = header(headers, GENERATION) or ""
    known = len(value) <= _LONGEST_GENERATION and value.isascii() and value.isprintable()
    return value if known else ""


def integer(headers: Mapping[str, str], name: str) -> int:
    """A header's value; 0 when it is missing or no integer, as in what no relay has sent."""
    value = header(headers, name) or ""
    known = value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS
    return int(value) if known else 0


ASK = b"ask"


def wake_subject(service: str) -> str:
    """Where a service's relay hears that there is something to do; the payload ASK: to compare."""
    return f"slipway.relay.{service}"


def operator_subject(service: str) -> str:
    """Where the members of a service hear that an operator has changed something: a hint to look
    at once, and what is to be logged of it (JSON)."""
    return f"slipway.operator.{service}"
