"""Which events are committed one by one, and which together, after a connection was lost."""

import pytest

from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.one_by_one import OneByOne
from chassis.events.consumer.position import Position

pytestmark = pytest.mark.unit


def arrivals(*sequences: int) -> list[Arrival]:
    return [
        Arrival("it.happened.0", "it.happened", 0, Position(n, "", n), {}, b"") for n in sequences
    ]


def sequences(parts: list[list[Arrival]]) -> list[list[int]]:
    return [[arrival.position.sequence for arrival in part] for part in parts]


def test_events_are_committed_together_while_no_connection_was_lost() -> None:
    assert sequences(OneByOne().split(arrivals(1, 2, 3))) == [[1, 2, 3]]


def test_the_events_of_a_lost_connection_are_committed_one_by_one_and_later_ones_together() -> None:
    one_by_one = OneByOne()
    one_by_one.connection_lost(arrivals(1, 2))

    assert sequences(one_by_one.split(arrivals(1, 2, 3, 4))) == [[1], [2], [3, 4]]


def test_events_are_committed_together_again_after_those_of_the_lost_connection() -> None:
    one_by_one = OneByOne()
    one_by_one.connection_lost(arrivals(1, 2, 3))
    one_by_one.committed(arrivals(1, 2))
    assert sequences(one_by_one.split(arrivals(3, 4))) == [[3], [4]]

    one_by_one.committed(arrivals(3, 4))
    assert sequences(one_by_one.split(arrivals(2, 3))) == [[2, 3]]


def test_a_stream_that_ends_before_the_lost_events_holds_none_of_them() -> None:
    one_by_one = OneByOne()
    one_by_one.connection_lost(arrivals(999, 1000))

    one_by_one.stream_ends_at(1000)
    assert sequences(one_by_one.split(arrivals(999, 1000))) == [[999], [1000]]
    one_by_one.stream_ends_at(500)
    assert sequences(one_by_one.split(arrivals(501, 502))) == [[501, 502]]
