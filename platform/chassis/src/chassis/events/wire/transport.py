"""The transport's own headers, beside those of CloudEvents."""

import json
import re
from collections.abc import Mapping

from chassis.database.tables import LONGEST_NAME

__all__ = [
    "COPIED_FROM",
    "GENERATION",
    "INBOX",
    "LINEAGE",
    "MEMBERS_STREAM",
    "MEMBERS_SUBJECTS",
    "NUMBER",
    "RANK",
    "RECONCILE",
    "STORED_AT",
    "event_id",
    "generation",
    "header",
    "inbox_prefix",
    "integer",
    "is_copy",
    "is_delivered_copy",
    "lineage",
    "members_subject",
    "missing_stream",
    "number_value",
    "operator_subject",
    "relayed",
    "resend_subject",
    "wake_subject",
]

NUMBER = "ce-sequence"  # CloudEvents sequence extension: counts within the subject
GENERATION = "slipway-generation"
LINEAGE = "slipway-lineage"  # the generations before it, the latest first; only if there are any
RANK = "slipway-rank"
STORED_AT = "slipway-stored-at"  # the sequence at which the stream is to store it
COPIED_FROM = "Nats-Stream"  # in the broker's answer to a direct get
_ACKNOWLEDGE = "$JS.ACK."  # where what a consumer delivers could be acknowledged
INBOX = "_INBOX"
MEMBERS_STREAM = "slipway-members"
# Not a key-value bucket's $KV: a server keeps that from crossing into another JetStream domain.
_MEMBERS = "slipway.members"
MEMBERS_SUBJECTS = f"{_MEMBERS}.>"
_GENERATION = re.compile(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}")
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
    return value if _GENERATION.fullmatch(value) else ""


def lineage(headers: Mapping[str, str]) -> tuple[str, ...]:
    """The generations above whose numbers its own begins, the latest first."""
    named = (headers.get(LINEAGE) or "").split()
    return tuple(name for name in named if _GENERATION.fullmatch(name))


def integer(headers: Mapping[str, str], name: str) -> int:
    """A header's value; 0 when it is missing or no integer, as in what no relay has sent."""
    value = header(headers, name) or ""
    known = value.isascii() and value.isdigit() and len(value) <= _MOST_DIGITS
    return int(value) if known else 0


def is_copy(headers: Mapping[str, str], sequence: int) -> bool:
    """Whether the message at this sequence of a stream is a copy of one that is stored elsewhere.

    A reader of a stream may name another stream's subject as the reply subject; the broker then
    stores the message there, headers and all. Such a message is no event. What older relays sent,
    and what is sent again beside the stream, names no sequence.
    """
    place = headers.get(STORED_AT)
    return COPIED_FROM in headers or (place is not None and place != str(sequence))


def is_delivered_copy(headers: Mapping[str, str], reply: str) -> bool:
    """Whether a message was not published but sent by the broker, from a stream that holds it."""
    return COPIED_FROM in headers or reply.startswith(_ACKNOWLEDGE)


RECONCILE = b"reconcile"


def relayed(
    headers: bytes,
    *,
    number: int,
    rank: int,
    generation: str,
    lineage: str,
    stored_at: int | None = None,
) -> dict[str, str]:
    """The headers of an event of the outbox, as a relay sends it: to be stored at a sequence of its
    stream, or to a consumer that has missed it."""
    sent: dict[str, str] = json.loads(headers)
    sent[NUMBER] = number_value(number)
    sent[GENERATION] = generation
    if lineage:
        sent[LINEAGE] = lineage
    sent[RANK] = str(rank)
    if stored_at is not None:
        sent[STORED_AT] = str(stored_at)
    return sent


def inbox_prefix(service: str) -> str:
    """Below which a service has its answers: of its own, so that no other may listen to them."""
    return f"{INBOX}.{service}"


def members_subject(service: str, member: str) -> str:
    """Where a member of a service announces itself; `*` stands for all members."""
    return f"{_MEMBERS}.{service}.{member}"


def missing_stream(stream: str, service: str) -> str:
    """What is to be done about a stream that a service does not make by itself."""
    return f"stream {stream!r} is missing: `python -m {service} broker apply` makes it"


def resend_subject(service: str) -> str:
    """Where a service is asked for events that are missing in its stream."""
    return f"slipway.resend.{service}"


def wake_subject(service: str) -> str:
    """Return the subject on which a service's relay is notified.

    An empty payload announces new events; RECONCILE asks it to compare outbox and stream.
    """
    return f"slipway.relay.{service}"


def operator_subject(service: str) -> str:
    """Where the members of a service hear that an operator has changed something: a hint to look
    at once, and what is to be logged of it (JSON)."""
    return f"slipway.operator.{service}"
