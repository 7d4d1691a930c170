"""Events of all forms for tests of the CloudEvents binding."""

import json
from collections.abc import Mapping
from datetime import UTC

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st

from chassis.events.wire.context import EventContext
from chassis.events.wire.decoding import decode

__all__ = [
    "MINIMAL",
    "REQUIRED",
    "STRUCTURED",
    "contexts",
    "decoded",
    "json_values",
    "structured",
    "texts",
    "unhurried",
]

# A busy machine makes no test fail.
unhurried = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

STRUCTURED = {"Content-Type": "application/cloudevents+json"}
REQUIRED = {"ce-specversion": "1.0", "ce-id": "1", "ce-source": "/s", "ce-type": "t"}
MINIMAL = EventContext(id="1", source="/s", type="t")


def decoded(headers: Mapping[str, str]) -> EventContext:
    return decode({**REQUIRED, **headers}, b"").context


def structured(**members: object) -> bytes:
    return json.dumps(
        {"specversion": "1.0", "id": "1", "source": "/s", "type": "t"} | members
    ).encode()


# Texts that CloudEvents allows in a string.
texts = st.text(st.characters(exclude_categories=("Cs", "Cc"))).filter(
    lambda text: not any(ord(c) & 0xFFFE == 0xFFFE or "\ufdd0" <= c <= "\ufdef" for c in text)
)
filled = texts.filter(bool)
maybe = st.none() | filled
contexts = st.builds(
    EventContext,
    id=filled,
    type=filled,
    source=filled,
    subject=maybe,
    time=st.none() | st.datetimes(timezones=st.just(UTC)),
    datacontenttype=maybe,
    dataschema=maybe,
    partition_key=maybe,
    sequence=st.none() | st.integers(0, 10**15),
    correlation_id=maybe,
    causation_id=maybe,
    traceparent=maybe,
    tracestate=maybe,
    extensions=st.dictionaries(
        st.from_regex(r"x[a-z0-9]{0,19}", fullmatch=True), texts, max_size=4
    ),
)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=10,
)
