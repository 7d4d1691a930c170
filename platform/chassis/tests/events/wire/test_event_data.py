"""Messages as an event's data, in protobuf and in JSON."""

import json

import pytest
from cloudevents_samples import json_values, unhurried
from google.protobuf.message import Message
from google.protobuf.struct_pb2 import Struct
from google.protobuf.wrappers_pb2 import StringValue
from hypothesis import given
from hypothesis import strategies as st

from chassis.events.wire.attributes import Undecodable
from chassis.events.wire.event_data import EventFormat, from_data, to_data
from slipway.v1 import GetEventLedgerResponse

pytestmark = pytest.mark.unit


class TestData:
    message = GetEventLedgerResponse(unsent=5, dead_letters=2**40, stopped=["é", ""])

    @pytest.mark.parametrize("format", ["protobuf", "json"])
    def test_a_message_survives_each_format(self, format: EventFormat) -> None:
        content_type, data = to_data(self.message, format)
        assert content_type == f"application/{format}"
        assert from_data(GetEventLedgerResponse, content_type, data) == self.message

    def test_json_has_the_contracts_field_names_and_keeps_zeros(self) -> None:
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
    def test_json_has_many_content_types(self, content_type: str) -> None:
        read = from_data(GetEventLedgerResponse, content_type, b'{"unsent": 1}')
        assert read.unsent == 1

    @pytest.mark.parametrize(
        "content_type",
        ["application/x-protobuf", "application/protobuf; proto=slipway.v1.X"],
    )
    def test_protobuf_has_many_content_types(self, content_type: str) -> None:
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
        st.binary() | json_values.map(lambda value: json.dumps(value).encode()),
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
