"""The text of a new event's headers, from a template or not, is JSON of the encoded headers."""

import json
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.events.producer.header_text import header_text
from chassis.events.wire.context import EventContext
from chassis.events.wire.encoding import encode
from chassis.telemetry.trace_context import TraceContext

pytestmark = pytest.mark.unit

_SPAN = TraceContext("00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01", "vendor=1")
_texts = st.one_of(
    st.text(
        min_size=1, max_size=20, alphabet=st.characters(codec="ascii", exclude_categories=["C"])
    ),
    st.sampled_from(["a", "@", "%s", "100%", '"', "\\", "a\\b", "{id}", "Zürich", "a b", "😀"]),
)
_some = st.one_of(st.none(), _texts)
_spans = st.sampled_from([TraceContext(), TraceContext(_SPAN.traceparent), _SPAN])


def _context(subject: str = "key-1", **more: str | None) -> EventContext:
    return EventContext(
        id="id-1",
        type="shop.v1.Sold",
        source="shop",
        subject=subject,
        partition_key=subject,
        time=datetime(2026, 11, 27, 1, 2, 3, 456, tzinfo=UTC),
        **more,  # type: ignore[arg-type]
    )


@given(subject=_texts, correlation=_texts, causation=_some, start=_some, state=_some, span=_spans)
def test_the_text_has_the_encoded_headers_in_their_order(
    subject: str,
    correlation: str,
    causation: str | None,
    start: str | None,
    state: str | None,
    span: TraceContext,
) -> None:
    context = _context(
        subject,
        correlation_id=correlation,
        causation_id=causation,
        traceparent=start,
        tracestate=state,
    )
    wanted = encode(context, "application/protobuf")
    wanted |= {name: value for name, value in span._asdict().items() if value}
    text = header_text(context, "application/protobuf", span)
    assert list(json.loads(text).items()) == list(wanted.items())


def test_events_of_other_types_and_times_get_their_own() -> None:
    first = _context()
    others = (
        first._replace(type="shop.v1.Bought"),
        first._replace(source="other"),
        first._replace(time=datetime(2000, 1, 1, tzinfo=UTC)),
        first,
    )
    for context in others:
        for datacontenttype in ("application/json", "application/protobuf"):
            text = header_text(context, datacontenttype, TraceContext())
            assert json.loads(text) == encode(context, datacontenttype)


def test_an_empty_attribute_is_refused_as_by_the_encoding() -> None:
    with pytest.raises(ValueError, match="'correlationid' is empty"):
        header_text(_context(correlation_id=""), "application/json", TraceContext())


def test_a_span_with_a_line_break_is_left_out() -> None:
    span = TraceContext("00-1\r\nEvil: 1", "a=b")
    headers = json.loads(header_text(_context(), "application/json", span))
    assert headers["tracestate"] == "a=b"
    assert "traceparent" not in headers
