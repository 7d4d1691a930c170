"""The transport's headers, as other publishers may write them."""

import pytest
from nats.aio.client import Client
from nats.aio.msg import Msg

from chassis.events.consumer.arrival import arrival_of
from chassis.events.wire import event_headers

pytestmark = pytest.mark.unit

NO_NUMBERS = ["", " ", "²", "٣", "1.5", "-1", "1_0", "0x1", "NaN", "9" * 19, "9" * 5000]


def delivered(lane: str, headers: dict[str, str]) -> Msg:
    reply = "$JS.ACK.bookstore.member.1.17.1.1790000000000000000.0"
    return Msg(Client(), subject=f"bookstore.v1.BookSold.{lane}", reply=reply, headers=headers)


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
