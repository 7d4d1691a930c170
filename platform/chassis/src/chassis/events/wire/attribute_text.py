"""The attributes of an event as JSON text, joined of their values and of what is between them.

The values of most events need no escape, neither in a header nor in JSON, so that they are joined
as they are. Other events are left to `encoding`, which takes several times as long.

The parts are labels and values in turn, here of an event with a subject:

    label  {"specversion":"1.0",…,"datacontenttype":"application/json","id":"
    value  41
    label  ","subject":"
    value  bookstore.v1.BookSold.7

The joined text ends within the last value, so that the caller can add members or end the object:

    {"specversion":"1.0",…,"id":"41","subject":"bookstore.v1.BookSold.7
"""

import json
from functools import lru_cache

from chassis.events.wire.attributes import is_plain
from chassis.events.wire.context import EventContext
from chassis.events.wire.event_headers import number_value
from chassis.events.wire.rfc3339 import format_time

__all__ = ["AttributeText", "join_plain"]

# A service sends few types.
_KEPT = 256


class AttributeText:
    """Writes attributes as the members of a JSON object.

    Args:
        prefix: what the name of each attribute begins with.
        comma: the separator of members.
        colon: the separator of a name and its value.
    """

    def __init__(self, prefix: str = "", comma: str = ",", colon: str = ":") -> None:
        self._prefix, self._comma, self._colon = prefix, comma, colon
        self._time = self.label(f"{prefix}time")
        self._subject = self.label(f"{prefix}subject")
        self._schema = self.label(f"{prefix}dataschema")
        self._key = self.label(f"{prefix}partitionkey")
        self._number = self.label(f"{prefix}sequence")
        self._correlation = self.label(f"{prefix}correlationid")
        self._causation = self.label(f"{prefix}causationid")
        self._traceparent = self.label(f"{prefix}traceparent")
        self._tracestate = self.label(f"{prefix}tracestate")
        self._start = lru_cache(_KEPT)(self._make_start)

    def label(self, name: str) -> str:
        """Return the text between the value of the member before and that of this one.

        It begins with the quote that ends the value before, because values are joined without
        quotes of their own.
        """
        return f'"{self._comma}"{name}"{self._colon}"'

    def parts(self, context: EventContext, datacontenttype: str) -> list[str]:
        """Return labels and values in turn, for `join_plain`; none if that cannot write them."""
        id, type, source, subject, time, _, schema, key, number = context[:9]
        correlation, causation, traceparent, tracestate, extensions = context[9:]
        start = self._start(type, source, datacontenttype)
        if extensions or not start:
            return []
        parts = [start, id]
        if time is not None:
            parts += self._time, format_time(time)
        if subject is not None:
            parts += self._subject, subject
        if schema is not None:
            parts += self._schema, schema
        if key is not None:
            parts += self._key, key
        if number is not None:
            parts += self._number, number_value(number)
        if correlation is not None:
            parts += self._correlation, correlation
        if causation is not None:
            parts += self._causation, causation
        if traceparent is not None:
            parts += self._traceparent, traceparent
        if tracestate is not None:
            parts += self._tracestate, tracestate
        return parts

    def _make_start(self, type: str, source: str, datacontenttype: str) -> str:
        """Return the text up to the value of the id; empty if `join_plain` could not write it."""
        values = (type, source, datacontenttype)
        if not all(values) or not is_plain("".join(values)):
            return ""
        members = {
            f"{self._prefix}specversion": "1.0",
            f"{self._prefix}type": type,
            f"{self._prefix}source": source,
            f"{self._prefix}datacontenttype": datacontenttype,
            f"{self._prefix}id": "",
        }
        return json.dumps(members, separators=(self._comma, self._colon)).removesuffix('"}')


def join_plain(parts: list[str]) -> str | None:
    """Return the text of labels and values in turn, without its last quote.

    None stands for no text: there are no parts, or a value is empty or needs an escape.
    """
    values = parts[1::2]
    if values and all(values) and is_plain("".join(values)):
        return "".join(parts)
    return None
