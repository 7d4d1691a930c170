"""When a lane stops, when it is checked again, and when it continues."""

import pytest

from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.position import Position
from chassis.events.consumer.stopped_lanes import StoppedLanes
from chassis.events.wire import event_headers

pytestmark = pytest.mark.unit

GENERATION = "00000000-0000-0000-0000-000000000001"
SUBJECT = "bookstore.v1.BookSold.3"
POSITION = Position(2, GENERATION, 20, "event 2")


@pytest.fixture
def lanes() -> StoppedLanes:
    return StoppedLanes("bookstore", retry_seconds=600)


def arrival(number: int) -> Arrival:
    position = Position(number, GENERATION, 10 * number, f"event {number}")
    headers = {event_headers.RANK: str(100 * number)}
    return Arrival(SUBJECT, "bookstore.v1.BookSold", 3, position, headers, b"")


def stopped_by_gap(lanes: StoppedLanes) -> None:
    lanes.note_gap(arrival(6), POSITION)
    lanes.note_gap(arrival(6), POSITION)


def test_a_gap_stops_its_lane_the_second_time(lanes: StoppedLanes) -> None:
    lanes.note_gap(arrival(6), POSITION)
    assert not lanes.all

    lanes.note_gap(arrival(6), POSITION)
    (stop,) = lanes.all
    assert stop.missing
    assert (stop.missing.first, stop.missing.last, stop.missing.below_rank) == (3, 5, 600)
    assert (stop.lane, stop.verb) == (3, "skip")
    assert stop.reason == "3 events are missing: numbers 3 to 5"
    assert lanes.excluded == {3}
    assert lanes.changed


def test_another_gap_does_not_count_as_the_second_time(lanes: StoppedLanes) -> None:
    lanes.note_gap(arrival(6), POSITION)
    lanes.note_gap(arrival(9), Position(6, GENERATION, 60))

    assert not lanes.all


def test_a_stopped_lane_is_due_after_the_retry_interval_and_then_postponed() -> None:
    lanes = StoppedLanes("bookstore", retry_seconds=0)
    stopped_by_gap(lanes)
    assert [stop.lane for stop in lanes.due] == [3]
    assert lanes.seconds_until_due() == 0.01


def test_no_lane_is_due_before_the_retry_interval(lanes: StoppedLanes) -> None:
    assert lanes.seconds_until_due() == float("inf")
    stopped_by_gap(lanes)

    assert not lanes.due
    assert 590 < lanes.seconds_until_due() <= 600


def test_a_resumed_lane_is_read_again_and_continues_with_its_next_event(
    lanes: StoppedLanes,
) -> None:
    stopped_by_gap(lanes)
    (stop,) = lanes.all
    lanes.resume(stop)
    assert not lanes.excluded
    assert len(lanes.all) == 1

    lanes.note_processed([arrival(3)])
    assert not lanes.all


def test_a_lane_that_was_stopped_elsewhere_in_the_meantime_is_not_resumed(
    lanes: StoppedLanes,
) -> None:
    stopped_by_gap(lanes)
    (before,) = lanes.all
    lanes.stop(3, SUBJECT, "the producer's numbers started over", Position(5, GENERATION, 50))
    lanes.resume(before)

    assert lanes.excluded == {3}


def test_a_gap_that_was_filled_in_part_keeps_the_lane_stopped_for_its_rest(
    lanes: StoppedLanes,
) -> None:
    stopped_by_gap(lanes)
    (stop,) = lanes.all
    narrowed = lanes.narrow_gap(stop, Position(4, GENERATION, 20))

    assert narrowed.missing
    assert (narrowed.missing.first, narrowed.missing.last) == (5, 5)
    assert lanes.excluded == {3}


def test_a_stop_is_forgotten_when_its_position_moves_or_its_lane_goes_to_another_member(
    lanes: StoppedLanes,
) -> None:
    stopped_by_gap(lanes)
    lanes.forget_outdated({SUBJECT: POSITION}, {3})
    assert len(lanes.all) == 1

    lanes.forget_outdated({SUBJECT: Position(9, GENERATION, 90)}, {3})
    assert not lanes.all
    stopped_by_gap(lanes)
    lanes.forget_outdated({SUBJECT: POSITION}, {4})
    assert not lanes.all
