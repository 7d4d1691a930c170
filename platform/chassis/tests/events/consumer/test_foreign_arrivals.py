"""Messages of a foreign stream become events, are left out, or say why they cannot be decoded."""

import json

import pytest

from bookstore.v1 import BookSold
from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.foreign_arrivals import foreign_arrivals
from chassis.events.consumer.foreign_position import sequence_after
from chassis.events.consumer.position import Position
from chassis.events.handlers.binding import Handler
from chassis.events.jetstream.delivery import Delivery
from chassis.events.jetstream.streams import StreamState

pytestmark = pytest.mark.unit

CREATED = "2026-01-01T00:00:00Z"
SOLD = "com.example.book.sold"
HANDLERS = {SOLD: Handler(BookSold, SOLD, "one", "oldest", SOLD, lambda: None, (), {})}


def message(sequence: int, id: str, *, type: str = SOLD, data: bytes | None = None) -> Delivery:
    headers = {
        "ce-specversion": "1.0",
        "ce-id": id,
        "ce-source": "https://legacy.example/shop",
        "ce-type": type,
        "content-type": "application/json",
    }
    reply = f"$JS.ACK.LEGACY.consumer.1.{sequence}.{sequence}.1700000000000000000.0"
    content = json.dumps({"book_id": "book-1"}).encode() if data is None else data
    return Delivery("legacy.books.1", reply, headers, content, len(content))


def arrivals(*messages: Delivery) -> list[Arrival]:
    return list(foreign_arrivals(messages, HANDLERS, subject="legacy.>", lane=7, created=CREATED))


def test_an_event_has_the_streams_sequence_as_its_position() -> None:
    (arrival,) = arrivals(message(41, "one"))

    assert arrival.position == Position(41, CREATED, 41, "one")
    assert (arrival.lane, arrival.position_subject) == (7, "legacy.>")
    assert arrival.message == BookSold(book_id="book-1")


def test_an_event_of_a_type_without_a_handler_is_left_out() -> None:
    assert [a.event_id for a in arrivals(message(1, "a", type="com.other"), message(2, "b"))] == [
        "b"
    ]


def test_a_message_that_cannot_be_decoded_says_why() -> None:
    (arrival,) = arrivals(message(1, "one", data=b"not JSON"))

    assert arrival.message is None
    assert arrival.reason.startswith("undecodable: ")


def test_an_event_without_a_key_has_its_id_as_its_key() -> None:
    (arrival,) = arrivals(message(1, "one"))

    assert arrival.key == ("https://legacy.example/shop", "one")


@pytest.mark.parametrize(
    ("created", "last_sequence", "start"),
    [
        (CREATED, 60, 51),
        (CREATED, 50, 51),
        # The stream was restored from an older copy.
        (CREATED, 49, 1),
        # The stream was recreated.
        ("2026-02-02T00:00:00Z", 60, 1),
    ],
)
def test_reading_continues_after_the_position_only_in_the_same_stream(
    created: str, last_sequence: int, start: int
) -> None:
    state = StreamState(created, last_sequence, 1, last_sequence, {})

    assert sequence_after(Position(50, CREATED, 50, "one"), state) == start
