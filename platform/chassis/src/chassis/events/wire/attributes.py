"""The CloudEvents attributes that an event's context has a field for, and how a value is written.

The wire format is the CloudEvents NATS protocol binding: strict in what is encoded, liberal in what
is decoded. In binary mode each attribute is a `ce-` header, percent-encoded, and the data are the
payload. In structured mode, which the header Content-Type announces, the payload is JSON with all
of it.
"""

from collections.abc import Collection

__all__ = [
    "JSON",
    "KNOWN",
    "RESERVED",
    "STRUCTURED",
    "Undecodable",
    "extensions_among",
    "is_plain",
]

JSON = "application/json"
STRUCTURED = "application/cloudevents"
"""Start of the content type of structured mode."""

KNOWN = (
    "specversion",
    "id",
    "type",
    "source",
    "subject",
    "time",
    "datacontenttype",
    "dataschema",
    "partitionkey",
    "sequence",
    "correlationid",
    "causationid",
    "traceparent",
    "tracestate",
)
"""The version, and all attributes that a context has a field for, in the order of its fields."""
RESERVED = {*KNOWN, "data"}
"""Names that an extension cannot have."""
# The characters that headers and JSON hold as they are; spaces and control characters are not.
_PLAIN = bytes(code for code in range(0x21, 0x7F) if chr(code) not in '"%\\')


class Undecodable(ValueError):
    """A message that is not a CloudEvent, or data that do not match its type; with the reason."""


def extensions_among(names: Collection[str]) -> list[str]:
    """Return those names of attributes that are names of extensions."""
    return [name for name in names if name and name not in RESERVED]


def is_plain(text: str) -> bool:
    """Whether a text needs an escape neither in a header nor in JSON; if in doubt, it does."""
    # This takes two thirds of the time of a regular expression.
    return text.isascii() and not text.encode().translate(None, _PLAIN)
