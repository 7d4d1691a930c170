"""The CloudEvents NATS protocol binding: golden headers from its rules, round trips, the SDK."""

import asyncio
import json
from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import nats
import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import BytesValue, StringValue
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from chassis.events.wire.attributes import Undecodable
from chassis.events.wire.context import EventContext
from chassis.events.wire.decoding import Received, decode
from chassis.events.wire.encoding import encode, to_structured
from chassis.events.wire.event_data import EventFormat, from_data, to_data
from localservers import NatsServer
from slipway.v1 import GetEventLedgerResponse

# A busy machine is no failure.
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


# Everything a CloudEvents string may hold.
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
            replace(context, datacontenttype="application/json"), "application/json", b"{}"
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
        assert encode(replace(MINIMAL, subject=value))["ce-subject"] == header
        assert decoded({"ce-subject": header}).subject == value

    def test_a_time_elsewhere_is_sent_in_utc(self) -> None:
        time = datetime(2026, 11, 1, 1, tzinfo=timezone(timedelta(hours=2)))
        assert encode(replace(MINIMAL, time=time))["ce-time"] == "2026-10-31T23:00:00Z"


class TestStrictInWhatItSends:
    @pytest.mark.parametrize(
        "context",
        [
            replace(MINIMAL, id=""),
            replace(MINIMAL, type=""),
            replace(MINIMAL, source=""),
            replace(MINIMAL, subject=""),
            replace(MINIMAL, subject="line\nfeed"),
            replace(MINIMAL, subject="\x7f"),
            replace(MINIMAL, subject="\x85"),
            replace(MINIMAL, subject="\ud800"),
            replace(MINIMAL, subject="\ufdd0"),
            replace(MINIMAL, subject="\U0010ffff"),
            replace(MINIMAL, time=datetime(2026, 11, 1)),
            replace(MINIMAL, extensions={"Upper": ""}),
            replace(MINIMAL, extensions={"under_score": ""}),
            replace(MINIMAL, extensions={"": ""}),
            replace(MINIMAL, extensions={"data": ""}),
            replace(MINIMAL, extensions={"id": "2"}),
            replace(MINIMAL, extensions={"x": "\x00"}),
        ],
        ids=repr,
    )
    def test_what_cloudevents_forbids_is_refused(self, context: EventContext) -> None:
        with pytest.raises(ValueError):
            encode(context)
        with pytest.raises(ValueError):
            to_structured(context, StringValue())


class TestLiberalInWhatItReads:
    def test_header_names_come_in_any_case(self) -> None:
        headers = {"CE-SpecVersion": "1.0", "Ce-Id": "1", "cE-source": "/s", "CE-TYPE": "t"}
        assert decode({**headers, "Ce-Tenant": "north"}, b"").context == replace(
            MINIMAL, extensions={"tenant": "north"}
        )

    @pytest.mark.parametrize(
        ("header", "value"),
        [
            ("%4e%4F", "NO"),
            ("euro %e2%82%ac", "euro €"),
            ('"a b"', "a b"),
            ('"say \\"hi\\" \\\\ %22"', 'say "hi" \\ "'),
            ("  padded  ", "padded"),
            ("naïve €", "naïve €"),
            ('"', '"'),
        ],
    )
    def test_values_in_older_and_needless_encodings_are_understood(
        self, header: str, value: str
    ) -> None:
        assert decoded({"ce-x": header}).extensions == {"x": value}

    def test_headers_of_the_transport_are_no_attributes(self) -> None:
        assert decoded({"traceparent": "00-1-2-01", "Nats-Msg-Id": "9"}) == MINIMAL

    def test_empty_optional_attributes_count_as_absent(self) -> None:
        empty = {"ce-subject": "", "ce-time": "", "ce-datacontenttype": "", "ce-dataschema": ""}
        assert decoded(empty) == MINIMAL

    def test_a_sequence_that_is_no_number_survives_as_text(self) -> None:
        context = decoded({"ce-sequence": "b-7"})
        assert (context.sequence, context.extensions) == (None, {"sequence": "b-7"})
        assert encode(context)["ce-sequence"] == "b-7"

    @pytest.mark.parametrize(
        ("text", "time"),
        [
            ("2026-11-01T12:00:00Z", datetime(2026, 11, 1, 12, tzinfo=UTC)),
            ("2026-11-01t12:00:00z", datetime(2026, 11, 1, 12, tzinfo=UTC)),
            ("2026-11-01T13:00:00+01:00", datetime(2026, 11, 1, 12, tzinfo=UTC)),
            ("2026-11-01T12:00:00.5Z", datetime(2026, 11, 1, 12, 0, 0, 500000, tzinfo=UTC)),
            ("2026-11-01T12:00:00.123456789Z", datetime(2026, 11, 1, 12, 0, 0, 123456, tzinfo=UTC)),
            ("2016-12-31T23:59:60Z", datetime(2016, 12, 31, 23, 59, 59, tzinfo=UTC)),
        ],
    )
    def test_times_of_rfc_3339_are_read(self, text: str, time: datetime) -> None:
        assert decoded({"ce-time": text}).time == time

    def test_without_a_datacontenttype_the_content_type_says_what_the_data_is(self) -> None:
        headers = {**REQUIRED, "content-type": "application/protobuf"}
        assert decode(headers, b"").datacontenttype == "application/protobuf"
        assert decode(REQUIRED, b"{}").datacontenttype == "application/json"

    @pytest.mark.parametrize(
        "content_type",
        [
            "application/cloudevents",
            "Application/CloudEvents+JSON",
            "application/cloudevents+json; charset=utf-8",
        ],
    )
    def test_structured_mode_is_told_by_its_header_in_any_case(self, content_type: str) -> None:
        received = decode({"CONTENT-type": content_type}, structured(data={"a": 1}))
        assert received.context == MINIMAL
        assert json.loads(received.data) == {"a": 1}

    def test_structured_mode_does_not_look_at_other_headers(self) -> None:
        assert decode({**STRUCTURED, "ce-id": "%zz"}, structured()).context == MINIMAL

    def test_structured_attributes_that_are_no_strings_become_canonical_text(self) -> None:
        payload = structured(flag=True, count=-5, nothing=None, text="x", sequence=3)
        context = decode(STRUCTURED, payload).context
        assert context.extensions == {"flag": "true", "count": "-5", "text": "x"}
        assert context.sequence == 3

    @pytest.mark.parametrize(
        ("members", "data"),
        [
            ({}, b""),
            ({"data": None}, b""),
            ({"data": "text"}, b'"text"'),
            ({"data": [1, "é"]}, '[1, "é"]'.encode()),
            ({"data": "text", "datacontenttype": "text/plain"}, b"text"),
            ({"data": {"a": 1}, "datacontenttype": "application/x+json"}, b'{"a": 1}'),
            ({"data_base64": "AP8="}, b"\x00\xff"),
            ({"data_base64": ""}, b""),
        ],
    )
    def test_structured_data_is_read_as_its_type_says(
        self, members: dict[str, object], data: bytes
    ) -> None:
        assert decode(STRUCTURED, structured(**members)).data == data


class TestUndecodable:
    @pytest.mark.parametrize(
        ("headers", "reason"),
        [
            (None, "'specversion' is missing"),
            ({}, "'specversion' is missing"),
            ({**REQUIRED, "ce-specversion": "0.3"}, "specversion '0.3'"),
            ({**REQUIRED, "ce-id": ""}, "'id' is missing or empty"),
            ({"ce-specversion": "1.0", "ce-id": "1", "ce-source": "s"}, "'type' is missing"),
            ({"ce-specversion": "1.0", "ce-id": "1", "ce-type": "t"}, "'source' is missing"),
            ({**REQUIRED, "ce-subject": "%C0%A0"}, "ce-subject is not percent-encoded UTF-8"),
            ({**REQUIRED, "ce-subject": "%ED%A0%80"}, "ce-subject is not percent-encoded UTF-8"),
            ({**REQUIRED, "ce-subject": "50%"}, "ce-subject"),
            ({**REQUIRED, "ce-subject": "%zz"}, "ce-subject"),
            ({**REQUIRED, "ce-subject": "%E2%82"}, "ce-subject"),
            ({**REQUIRED, "ce-subject": "\ufffd"}, "ce-subject is not valid UTF-8"),
            ({**REQUIRED, "ce-time": "yesterday"}, "time 'yesterday'"),
            ({**REQUIRED, "ce-time": "2026-11-01T12:00:00"}, "no offset"),
            ({**REQUIRED, "ce-time": "0001-01-01T00:00:00+23:00"}, "out of range"),
            ({"content-type": "application/cloudevents-batch+json"}, "cloudevents-batch"),
            ({"content-type": "application/cloudevents+avro"}, "avro"),
        ],
    )
    def test_wrong_headers_are_told_by_name(
        self, headers: dict[str, str] | None, reason: str
    ) -> None:
        with pytest.raises(Undecodable, match=reason):
            decode(headers, b"{}")

    @pytest.mark.parametrize(
        ("payload", "reason"),
        [
            (b"", "not valid JSON"),
            (b"{", "not valid JSON"),
            (b"\xff", "not valid JSON"),
            (b"[" * 100_000, "not valid JSON"),
            (b"[]", "not a JSON object"),
            (b"{}", "specversion"),
            (structured(data=float("nan")), "NaN"),
            (b'{"specversion":"1.0","id":"1","source":"s","type":"t","data":1e999}', "data"),
            (structured(id=None), "'id' is missing"),
            (structured(id={"a": 1}), "'id' is not a string"),
            (structured(x=1.5), "'x' is not a string"),
            (structured(subject="\ud800"), "half of a surrogate pair"),
            (structured(data="\ud800"), "data"),
            (structured(data_base64="%"), "base64"),
            (structured(data_base64=5), "data_base64 is not a string"),
            (structured(data={}, data_base64=""), "data is set as well"),
            (structured(time="noon"), "time 'noon'"),
        ],
    )
    def test_wrong_structured_payloads_are_told_by_their_fault(
        self, payload: bytes, reason: str
    ) -> None:
        with pytest.raises(Undecodable, match=reason):
            decode(STRUCTURED, payload)

    @unhurried
    @given(
        st.none()
        | st.dictionaries(st.sampled_from([*REQUIRED, "ce-time", "ce-x"]) | st.text(), st.text()),
        st.binary(),
    )
    def test_garbage_in_binary_mode_raises_nothing_else(
        self, headers: dict[str, str] | None, payload: bytes
    ) -> None:
        self.harmless(headers, payload)
        self.harmless({**REQUIRED, **(headers or {})}, payload)

    json_values = st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
        max_leaves=10,
    )

    @unhurried
    @given(
        st.dictionaries(
            st.sampled_from(["id", "time", "data", "data_base64", "datacontenttype", "sequence"])
            | st.text(),
            json_values,
        )
    )
    def test_garbage_in_structured_mode_raises_nothing_else(self, members: dict[str, Any]) -> None:
        self.harmless(STRUCTURED, json.dumps(members).encode())
        self.harmless(STRUCTURED, structured(**members))

    @unhurried
    @given(st.binary())
    def test_payloads_that_are_no_json_raise_nothing_else(self, payload: bytes) -> None:
        self.harmless(STRUCTURED, payload)

    def harmless(self, headers: dict[str, str] | None, payload: bytes) -> None:
        try:
            context = decode(headers, payload).context
        except Undecodable:
            return
        assert context.id


class TestRoundTrips:
    @unhurried
    @given(contexts, st.binary())
    @example(replace(MINIMAL, subject='Euro € 😀 100% "x"'), bytes(range(256)) * 256)
    def test_binary_mode_returns_what_was_sent(self, context: EventContext, data: bytes) -> None:
        received = decode(encode(context), data)
        assert received.context == context
        assert received.data == data

    @unhurried
    @given(contexts)
    def test_headers_are_printable_ascii_in_lower_case(self, context: EventContext) -> None:
        for name, value in encode(context).items():
            assert name == name.lower()
            assert all("!" <= character <= "~" for character in value)

    @unhurried
    @given(contexts, filled)
    def test_structured_mode_returns_what_was_sent(self, context: EventContext, text: str) -> None:
        received = decode(STRUCTURED, to_structured(context, StringValue(value=text)))
        assert received.context == replace(context, datacontenttype="application/json")
        assert from_data(StringValue, received.datacontenttype, received.data).value == text

    def test_data_of_64_kib_passes_in_both_modes(self) -> None:
        message = BytesValue(value=bytes(range(256)) * 256)
        content_type, data = to_data(message, "protobuf")
        received = decode(encode(MINIMAL, content_type), data)
        assert from_data(BytesValue, received.datacontenttype, received.data) == message
        received = decode(STRUCTURED, to_structured(MINIMAL, message))
        assert from_data(BytesValue, received.datacontenttype, received.data) == message


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[NatsServer]:
    with NatsServer(tmp_path_factory.mktemp("nats")) as running:
        yield running


class TestThroughARealServer:
    @settings(unhurried, max_examples=20)
    @given(st.lists(st.tuples(contexts, st.binary()), min_size=1, max_size=20))
    @example([(replace(MINIMAL, extensions={"empty": "", "euro": "€ 100%"}), bytes(65536))])
    def test_headers_and_data_arrive_as_they_were_sent(
        self, server: NatsServer, events: list[tuple[EventContext, bytes]]
    ) -> None:
        assert asyncio.run(self.carry(server, events)) == events

    async def carry(
        self, server: NatsServer, events: list[tuple[EventContext, bytes]]
    ) -> list[tuple[EventContext, bytes]]:
        async with await nats.connect(server.url, allow_reconnect=False) as client:
            subscription = await client.subscribe("events")
            for context, data in events:
                await client.publish("events", data, headers=encode(context))
            arrived = [await subscription.next_msg(5) for _ in events]
        received = [decode(message.headers, message.data) for message in arrived]
        return [(one.context, one.data) for one in received]


class TestTheSdkAgrees:
    """The CloudEvents SDK has no NATS binding; its JSON format and its event are the reference."""

    @unhurried
    @given(contexts, filled)
    def test_it_reads_our_structured_mode(self, context: EventContext, text: str) -> None:
        event = JSONFormat().read(None, to_structured(context, StringValue(value=text)))
        assert event.get_data() == text
        # It gives an event without a time the present one.
        time = context.time or event.get_time()
        assert event.get_attributes() == self.attributes(
            replace(context, datacontenttype="application/json", time=time)
        )

    @unhurried
    @given(contexts, st.binary(min_size=1))
    def test_we_read_its_structured_mode(self, context: EventContext, data: bytes) -> None:
        event = CloudEvent(self.attributes(context), data)
        received = decode(STRUCTURED, JSONFormat().write(event))
        assert received.data == data
        assert received.context == replace(context, time=event.get_time())

    @unhurried
    @given(contexts, st.binary())
    def test_its_event_of_our_decoded_headers_gives_the_same_headers(
        self, context: EventContext, data: bytes
    ) -> None:
        received = decode(encode(context), data)
        event = CloudEvent(self.attributes(received.context), received.data)
        structured_again = decode(STRUCTURED, JSONFormat().write(event)).context
        assert encode(replace(structured_again, time=context.time)) == encode(context)

    def attributes(self, context: EventContext) -> dict[str, Any]:
        named = {
            "id": context.id,
            "source": context.source,
            "type": context.type,
            "specversion": "1.0",
            "subject": context.subject,
            "time": context.time,
            "datacontenttype": context.datacontenttype,
            "dataschema": context.dataschema,
            "partitionkey": context.partition_key,
            "sequence": None if context.sequence is None else f"{context.sequence:016d}",
            "correlationid": context.correlation_id,
            "causationid": context.causation_id,
            "traceparent": context.traceparent,
            "tracestate": context.tracestate,
        }
        return {k: v for k, v in named.items() if v is not None} | dict(context.extensions)


class TestData:
    message = GetEventLedgerResponse(unsent=5, dead_letters=2**40, stopped=["é", ""])

    @pytest.mark.parametrize("format", ["protobuf", "json"])
    def test_a_message_survives_each_format(self, format: EventFormat) -> None:
        content_type, data = to_data(self.message, format)
        assert content_type == f"application/{format}"
        assert from_data(GetEventLedgerResponse, content_type, data) == self.message

    def test_json_has_the_contracts_own_field_names_and_keeps_zeros(self) -> None:
        _, data = to_data(self.message, "json")
        assert json.loads(data) == {
            "unsent": "5",
            "lag": "0",
            "tasks": "0",
            "dead_letters": str(2**40),
            "stopped": ["é", ""],
        }

    def test_camel_case_and_unknown_fields_are_read(self) -> None:
        data = b'{"deadLetters": 3, "new_in_v9": {"a": [1]}}'
        read = from_data(GetEventLedgerResponse, "application/json", data)
        assert read == GetEventLedgerResponse(dead_letters=3)

    @pytest.mark.parametrize(
        "content_type",
        [
            "Application/JSON; charset=utf-8",
            "text/json",
            "application/vnd.example+json",
        ],
    )
    def test_json_goes_by_many_names(self, content_type: str) -> None:
        read = from_data(GetEventLedgerResponse, content_type, b'{"unsent": 1}')
        assert read.unsent == 1

    @pytest.mark.parametrize(
        "content_type",
        ["application/x-protobuf", "application/protobuf; proto=slipway.v1.X"],
    )
    def test_protobuf_goes_by_many_names(self, content_type: str) -> None:
        data = self.message.SerializeToString()
        assert from_data(GetEventLedgerResponse, content_type, data) == self.message

    @pytest.mark.parametrize(
        ("content_type", "data"),
        [
            ("application/protobuf", b"\xff"),
            ("application/json", b""),
            ("application/json", b"[]"),
            ("application/json", b'""'),
            ("application/json", b"null"),
            ("application/json", b'{"unsent": "x"}'),
            ("application/json", b'{"stopped": ["\\ud800"]}'),
            ("application/json", b"\xff"),
            ("application/json", b"[" * 100_000),
            ("text/plain", b"hello"),
            ("", b""),
        ],
    )
    def test_other_data_is_undecodable(self, content_type: str, data: bytes) -> None:
        with pytest.raises(Undecodable):
            from_data(GetEventLedgerResponse, content_type, data)

    @unhurried
    @given(
        st.sampled_from(["application/json", "application/protobuf"]) | st.text(),
        st.binary() | TestUndecodable.json_values.map(lambda value: json.dumps(value).encode()),
        st.sampled_from([GetEventLedgerResponse, Struct, StringValue]),
    )
    def test_garbage_raises_nothing_else(
        self, content_type: str, data: bytes, message_type: type[Message]
    ) -> None:
        try:
            message = from_data(message_type, content_type, data)
        except Undecodable:
            return
        assert isinstance(message, message_type)
