"""Encoding of events as CloudEvents headers: golden headers, and what CloudEvents forbids."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from cloudevents_samples import (
    MINIMAL,
    decoded,
)
from google.protobuf.wrappers_pb2 import StringValue

from chassis.events.wire.context import EventContext
from chassis.events.wire.decoding import Received, decode
from chassis.events.wire.encoding import encode, to_structured

pytestmark = pytest.mark.unit


class TestGoldenHeaders:
    def test_the_example_of_the_binding(self) -> None:
        context = EventContext(
            id="1234-1234-1234",
            type="com.example.someevent",
            source="/mycontext/subcontext",
            time=datetime(2018, 4, 5, 3, 56, 24, tzinfo=UTC),
        )
        headers = {
            "ce-specversion": "1.0",
            "ce-type": "com.example.someevent",
            "ce-time": "2018-04-05T03:56:24Z",
            "ce-id": "1234-1234-1234",
            "ce-source": "/mycontext/subcontext",
            "ce-datacontenttype": "application/json",
        }
        assert encode(context, "application/json") == headers
        assert decode(headers, b"{}") == Received(
            context._replace(datacontenttype="application/json"), "application/json", b"{}"
        )

    def test_every_attribute_has_its_header(self) -> None:
        context = EventContext(
            id="1",
            type="t",
            source="/s",
            subject="k",
            time=datetime(2026, 11, 1, 12, 0, 0, 5, tzinfo=UTC),
            datacontenttype="application/protobuf",
            dataschema="https://example.com/schema",
            partition_key="k",
            sequence=7,
            correlation_id="c",
            causation_id="d",
            traceparent="00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            tracestate="vendor=1",
            extensions={"tenant": "north", "empty": ""},
        )
        headers = {
            "ce-specversion": "1.0",
            "ce-id": "1",
            "ce-type": "t",
            "ce-source": "/s",
            "ce-subject": "k",
            "ce-time": "2026-11-01T12:00:00.000005Z",
            "ce-datacontenttype": "application/protobuf",
            "ce-dataschema": "https://example.com/schema",
            "ce-partitionkey": "k",
            "ce-sequence": "0000000000000007",
            "ce-correlationid": "c",
            "ce-causationid": "d",
            "ce-traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "ce-tracestate": "vendor=1",
            "ce-tenant": "north",
            "ce-empty": "",
        }
        assert encode(context) == headers
        assert decode(headers, b"").context == context

    @pytest.mark.parametrize(
        ("value", "header"),
        [
            ("Euro € 😀", "Euro%20%E2%82%AC%20%F0%9F%98%80"),
            ("100%", "100%25"),
            ("%20", "%2520"),
            ('"quoted"', "%22quoted%22"),
            ("!#$&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~", "!#$&'()*+,-./09:;<=>?@AZ[\\]^_`az{|}~"),
            ("\u00a0", "%C2%A0"),
        ],
    )
    def test_values_are_percent_encoded_once(self, value: str, header: str) -> None:
        assert encode(MINIMAL._replace(subject=value))["ce-subject"] == header
        assert decoded({"ce-subject": header}).subject == value

    def test_a_time_of_another_zone_is_sent_in_utc(self) -> None:
        time = datetime(2026, 11, 1, 1, tzinfo=timezone(timedelta(hours=2)))
        assert encode(MINIMAL._replace(time=time))["ce-time"] == "2026-10-31T23:00:00Z"


class TestEncodingIsStrict:
    @pytest.mark.parametrize(
        "context",
        [
            MINIMAL._replace(id=""),
            MINIMAL._replace(type=""),
            MINIMAL._replace(source=""),
            MINIMAL._replace(subject=""),
            MINIMAL._replace(subject="line\nfeed"),
            MINIMAL._replace(subject="\x7f"),
            MINIMAL._replace(subject="\x85"),
            MINIMAL._replace(subject="\ud800"),
            MINIMAL._replace(subject="\ufdd0"),
            MINIMAL._replace(subject="\U0010ffff"),
            MINIMAL._replace(time=datetime(2026, 11, 1)),
            MINIMAL._replace(extensions={"Upper": ""}),
            MINIMAL._replace(extensions={"under_score": ""}),
            MINIMAL._replace(extensions={"": ""}),
            MINIMAL._replace(extensions={"data": ""}),
            MINIMAL._replace(extensions={"id": "2"}),
            MINIMAL._replace(extensions={"x": "\x00"}),
        ],
        ids=repr,
    )
    def test_contexts_that_cloudevents_forbids_are_refused(self, context: EventContext) -> None:
        with pytest.raises(ValueError):
            encode(context)
        with pytest.raises(ValueError):
            to_structured(context, StringValue())
