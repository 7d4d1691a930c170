"""The CloudEvents attributes that an event's context has a field for, and how a value is written.

The wire format is the CloudEvents NATS protocol binding: strict in what is encoded, liberal in what
is decoded. In binary mode each attribute is a `ce-` header, percent-encoded, and the data are the
payload. In structured mode, which the header Content-Type announces, the payload is JSON with all
of it.
"""

import re
from collections.abc import Collection

__all__ = [
    "JSON",
    "KNOWN",
    "PLAIN_VALUE",
    "RESERVED",
    "STRUCTURED",
    "Undecodable",
    "extensions_among",
]

JSON = "application/json"
STRUCTURED = "application/cloudevents"
"""Start of the content type of structured mode."""

KNOWN = (
    "specversion",
    "time",
    "sequence",
    "id",
    "type",
    "source",
    "subject",
    "datacontenttype",
    "dataschema",
    "partitionkey",
    "correlationid",
    "causationid",
    "traceparent",
    "tracestate",
)
"""All attributes that a context has a field for, and the version."""
RESERVED = {*KNOWN, "data"}
"""Names that an extension cannot have."""
PLAIN_VALUE = re.compile(r"[!#$&-~]*")
"""A value that a header holds as it is, without percent-encoding."""


class Undecodable(ValueError):
    """A message that is not a CloudEvent, or data that do not match its type; with the reason."""


def extensions_among(names: Collection[str]) -> list[str]:
    """Return those names of attributes that are names of extensions."""
    return [name for name in names if name and name not in RESERVED]
