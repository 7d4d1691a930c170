"""JSON of messages is read and written as `google.protobuf.json_format` does it."""

import json
from collections.abc import Callable
from typing import Any

import orjson
import pytest
from cloudevents_samples import STRUCTURED, structured, unhurried
from google.protobuf import json_format
from google.protobuf.message import Message
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from json_messages import CONTRACTS, DEEP, EVERY_KIND, UNUSUAL_KINDS, json_of, messages_of

from chassis.events.wire.attributes import Undecodable
from chassis.events.wire.decoding import decode
from chassis.events.wire.event_data import from_data
from chassis.events.wire.json_reading import of_json
from chassis.events.wire.json_writing import to_json_text

pytestmark = pytest.mark.unit

kinds = st.sampled_from([EVERY_KIND, UNUSUAL_KINDS, *CONTRACTS]) | st.just(EVERY_KIND)


def result(run: Callable[[], Any]) -> Any:
    """Return the result, or that there is none."""
    try:
        return run()
    except Exception:
        return "an error"


def written(message: Message) -> Any:
    return json_format.MessageToDict(
        message, preserving_proto_field_name=True, always_print_fields_with_no_presence=True
    )


def read(kind: type[Message], data: bytes) -> Message:
    return json_format.Parse(data, kind(), ignore_unknown_fields=True)


@settings(unhurried, max_examples=150)
@given(kinds.flatmap(messages_of))
def test_a_message_is_written_as_json_format_writes_it(message: Message) -> None:
    ours = result(lambda: json.loads(to_json_text(message)))
    theirs = result(lambda: written(message))
    # As texts, 1, 1.0, True and "1" differ.
    assert json.dumps(ours, sort_keys=True) == json.dumps(theirs, sort_keys=True)


@settings(unhurried, max_examples=300)
@given(kinds.flatmap(lambda kind: st.tuples(st.just(kind), json_of(kind.DESCRIPTOR))))
def test_json_is_read_as_json_format_reads_it(sent: tuple[type[Message], Any]) -> None:
    kind, value = sent
    data = json.dumps(value).encode()
    assert repr(result(lambda: of_json(kind, data))) == repr(result(lambda: read(kind, data)))


@settings(unhurried, max_examples=300)
@given(kinds.flatmap(lambda kind: st.tuples(st.just(kind), json_of(kind.DESCRIPTOR))))
@example((EVERY_KIND, {"unknown": -(2**63) - 1}))
def test_an_object_in_a_structured_payload_is_read_likewise_each_time(
    sent: tuple[type[Message], Any],
) -> None:
    kind, value = sent
    if not isinstance(value, dict):
        value = {"text": value}
    data = json.dumps(value)
    # Structured mode refuses what is not JSON in fields that the type does not have, too.
    assume(not any(text in data for text in ("\\ud", "NaN", "Infinity")))
    expected = repr(result(lambda: read(kind, data.encode())))
    received = result(lambda: decode(STRUCTURED, structured(data=value)))
    if received == "an error":
        assert expected == repr(received)
        return
    for _ in range(2):
        message = result(lambda: from_data(kind, received.datacontenttype, received.data))
        assert repr(message) == expected
    if expected != repr("an error"):
        # Integers of more than 64 bits are floats in structured mode.
        assert orjson.loads(bytes(received.data)) == orjson.loads(data)


def test_messages_in_many_messages_are_written_and_read() -> None:
    message = part = DEEP()
    while "parts" in part.DESCRIPTOR.fields_by_name:
        part.text = "x"
        part = part.parts.add()
    text = to_json_text(message)
    assert json.loads(text) == written(message)
    assert of_json(DEEP, text.encode()) == message


@pytest.mark.parametrize("data", [b'{"a_double":1e999}', b'{"other":1e999}', b'{"a":"\\ud800"}'])
def test_an_object_in_a_structured_payload_that_json_forbids_is_refused(data: bytes) -> None:
    payload = structured(data=0)[:-2] + data + b"}"
    received = decode(STRUCTURED, payload)
    with pytest.raises(Undecodable):
        from_data(EVERY_KIND, received.datacontenttype, received.data)


@pytest.mark.parametrize(
    ("data", "accepted"),
    [
        (b'{"a_int32":1}', True),
        (b'{"a_int32" :\n1}', True),
        (b'{"a_int32":1,"a_int32":1}', False),
        (b'{"a_int32":1,"a_int32" :1}', False),
        (b'{"a_inner":{"text":"","text":""}}', False),
        (b'{"a_int32":1,"aInt32":2}', True),
        (b'{"or_int32":1,"or_bool":true}', False),
        (b'{"or_int32":1,"or_bool":null}', True),
        (b'{"maybe_int32":0,"maybe_string":""}', True),
        (b'{"a_string":"\\":","some_string":["x"]}', True),
        (b'{"some_string":"ab"}', False),
        (b'{"some_string":[null]}', False),
        (b'{"a_inner":""}', True),
        (b'{"a_inner":[]}', True),
        (b'{"a_bool":1}', False),
        (b'{"a_int32":true}', False),
        (b'{"a_double":true}', True),
        (b'{"a_double":1e999}', False),
        (b'{"a_double":NaN}', False),
        (b'{"a_int64":"1 "}', False),
        (b'{"a_string":"\\ud800"}', False),
        (b'{"a_string":"\xff"}', False),
        (b'{"a_color":"RED","some_color":["GREEN",2]}', True),
        (b'{"a_time":"2026-W01-1T00:00:00Z"}', False),
        (b"[]", True),
        (b"null", False),
    ],
)
def test_what_json_forbids_is_refused_as_json_format_refuses_it(
    data: bytes, accepted: bool
) -> None:
    ours, theirs = result(lambda: of_json(EVERY_KIND, data)), result(lambda: read(EVERY_KIND, data))
    # Unlike json_format, an empty array is not taken for an empty message.
    assert repr(ours) == repr(theirs) or data == b"[]"
    assert (theirs != "an error") is accepted
