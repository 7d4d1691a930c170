"""The transport's headers, as other publishers may write them."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.events.consumer.arrival import arrival_of
from chassis.events.jetstream.delivery import Delivery
from chassis.events.jetstream.header_block import parse_header_block
from chassis.events.wire import event_headers

pytestmark = pytest.mark.unit

NO_NUMBERS = ["", " ", "²", "٣", "1.5", "-1", "1_0", "0x1", "NaN", "9" * 19, "9" * 5000]


def delivered(lane: str, headers: dict[str, str]) -> Delivery:
    reply = "$JS.ACK.bookstore.member.1.17.1.1790000000000000000.0"
    return Delivery(f"bookstore.v1.BookSold.{lane}", reply, headers, b"", 0)


@pytest.mark.parametrize("value", NO_NUMBERS)
def test_a_value_that_is_not_a_number_counts_as_0(value: str) -> None:
    headers = {"ce-sequence": value}

    assert event_headers.integer(headers, event_headers.NUMBER) == 0
    assert arrival_of(delivered("7", headers)) is None


@pytest.mark.parametrize("lane", ["²", "x", "1x", "-1"])
def test_a_subject_without_a_lane_belongs_to_no_lane(lane: str) -> None:
    assert arrival_of(delivered(lane, {"ce-sequence": "1"})) is None


def test_a_number_is_read_with_leading_zeros_and_any_case_of_its_name() -> None:
    assert (
        event_headers.integer({"Ce-Sequence": event_headers.number_value(41)}, event_headers.NUMBER)
        == 41
    )


_VALUE_PARTS = ['"', "\\", ", ", ": ", '", "', '": "', "{", "}", "é", "\u2028", "%20", "a", "1"]
_values = st.lists(st.sampled_from(_VALUE_PARTS), min_size=1).map("".join)
_headers = st.dictionaries(st.sampled_from(["ce-id", "ce-x", "tracestate", "a"]), _values)
_separators = st.sampled_from([(", ", ": "), (",", ":")])


@given(_headers, _separators, st.booleans())
def test_a_relay_sends_the_stored_headers_and_its_own(
    headers: dict[str, str], separators: tuple[str, str], ascii: bool
) -> None:
    stored = json.dumps(headers, separators=separators, ensure_ascii=ascii).encode()

    added = event_headers.relay_lines("g", "f e", is_stored=True)
    lines = event_headers.to_lines(stored) + added % (7, 9, 11)

    assert parse_header_block(lines) == {
        **{name: value.strip(" ") for name, value in headers.items()},
        "ce-sequence": "0000000000000007",
        "slipway-generation": "g",
        "slipway-lineage": "f e",
        "slipway-rank": "9",
        "slipway-stored-at": "11",
    }


def test_an_event_that_is_sent_again_names_no_place_in_the_stream() -> None:
    added = event_headers.relay_lines("g", "")
    lines = event_headers.to_lines(b'{"ce-id": "1"}') + added % (2, 3)

    assert lines == (
        b"ce-id: 1\r\nce-sequence: 0000000000000002\r\nslipway-generation: g\r\nslipway-rank: 3\r\n"
    )
