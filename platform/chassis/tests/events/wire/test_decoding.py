"""Decoding of CloudEvents messages: liberal in what is read, and errors that name the fault."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
from cloudevents_samples import (
    MINIMAL,
    REQUIRED,
    STRUCTURED,
    decoded,
    json_values,
    structured,
    unhurried,
)
from hypothesis import given
from hypothesis import strategies as st

from chassis.events.wire.attributes import Undecodable
from chassis.events.wire.decoding import decode
from chassis.events.wire.encoding import encode

pytestmark = pytest.mark.unit


class TestDecodingIsLiberal:
    def test_the_case_of_header_names_is_ignored(self) -> None:
        headers = {"CE-SpecVersion": "1.0", "Ce-Id": "1", "cE-source": "/s", "CE-TYPE": "t"}
        assert decode({**headers, "Ce-Tenant": "north"}, b"").context == MINIMAL._replace(
            extensions={"tenant": "north"}
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
    def test_values_in_older_and_needless_encodings_are_decoded(
        self, header: str, value: str
    ) -> None:
        assert decoded({"ce-x": header}).extensions == {"x": value}

    def test_headers_of_the_transport_are_not_attributes(self) -> None:
        assert decoded({"traceparent": "00-1-2-01", "Nats-Msg-Id": "9"}) == MINIMAL

    def test_empty_optional_attributes_count_as_absent(self) -> None:
        empty = {"ce-subject": "", "ce-time": "", "ce-datacontenttype": "", "ce-dataschema": ""}
        assert decoded(empty) == MINIMAL

    def test_a_sequence_that_is_not_a_number_stays_a_text(self) -> None:
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

    def test_without_a_datacontenttype_the_content_type_counts(self) -> None:
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
    def test_structured_mode_is_recognized_by_its_header(self, content_type: str) -> None:
        received = decode({"CONTENT-type": content_type}, structured(data={"a": 1}))
        assert received.context == MINIMAL
        assert json.loads(bytes(received.data)) == {"a": 1}

    def test_structured_mode_ignores_other_headers(self) -> None:
        assert decode({**STRUCTURED, "ce-id": "%zz"}, structured()).context == MINIMAL

    def test_structured_attributes_that_are_not_strings_become_canonical_text(self) -> None:
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
    def test_structured_data_is_read_by_its_type(
        self, members: dict[str, object], data: bytes
    ) -> None:
        assert bytes(decode(STRUCTURED, structured(**members)).data) == data


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
    def test_an_error_names_the_wrong_header(
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
    def test_an_error_names_the_fault_of_a_structured_payload(
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
    def test_payloads_that_are_not_json_raise_nothing_else(self, payload: bytes) -> None:
        self.harmless(STRUCTURED, payload)

    def harmless(self, headers: dict[str, str] | None, payload: bytes) -> None:
        try:
            context = decode(headers, payload).context
        except Undecodable:
            return
        assert context.id
