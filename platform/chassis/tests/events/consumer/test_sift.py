"""Events are judged by their numbers alone: the next ones, those seen, and those in doubt."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.position import ANY, Position
from chassis.events.consumer.sift import Sifted, sift

pytestmark = pytest.mark.unit

GENERATION = "00000000-0000-0000-0000-000000000001"
OTHER_GENERATION = "00000000-0000-0000-0000-000000000002"


def arrival(number: int, *, lane: int = 0, generation: str = GENERATION, id: str = "") -> Arrival:
    position = Position(number, generation, 100 + number, id or f"event {number}")
    return Arrival(f"it.happened.{lane}", "it.happened", lane, position, {}, b"")


def positions(*numbers: int) -> dict[str, Position]:
    """Return the positions of the lanes, from lane 0 on."""
    return {
        f"it.happened.{lane}": Position(number, GENERATION, 100 + number, f"event {number}")
        for lane, number in enumerate(numbers)
    }


def numbers(arrivals: list[Arrival]) -> list[int]:
    return [each.position.number for each in arrivals]


def kinds(sifted: Sifted) -> list[str]:
    return [doubt.verdict.kind for doubt in sifted.doubts]


def test_events_that_continue_the_position_are_next() -> None:
    sifted = sift([arrival(3), arrival(4), arrival(5)], positions(2))

    assert numbers(sifted.next) == [3, 4, 5]
    assert not sifted.seen
    assert not sifted.doubts


def test_events_processed_before_are_seen_and_stop_no_lane() -> None:
    sifted = sift([arrival(1), arrival(2), arrival(3), arrival(3), arrival(4)], positions(2))

    assert numbers(sifted.seen) == [1, 2, 3]
    assert numbers(sifted.next) == [3, 4]


def test_a_lane_in_doubt_goes_no_further_and_the_others_do() -> None:
    gap, behind_it = arrival(4), arrival(3)
    elsewhere = arrival(8, lane=1)

    sifted = sift([gap, behind_it, elsewhere], positions(2, 7))

    assert kinds(sifted) == ["gap"]
    assert sifted.doubts[0].arrival is gap
    assert sifted.doubts[0].position.number == 2
    assert sifted.next == [elsewhere]


def test_a_number_of_another_generation_is_in_doubt_with_a_reason() -> None:
    sifted = sift([arrival(3, generation=OTHER_GENERATION)], positions(2))

    assert kinds(sifted) == ["forked"]
    assert OTHER_GENERATION in sifted.doubts[0].verdict.reason


def test_the_same_number_with_another_id_is_in_doubt() -> None:
    sifted = sift([arrival(2, id="another event")], positions(2))

    assert kinds(sifted) == ["forked"]


def test_any_number_is_next_after_the_position_any() -> None:
    sifted = sift([arrival(40), arrival(41)], {"it.happened.0": Position(ANY, "", 0)})

    assert numbers(sifted.next) == [40, 41]


def test_an_event_without_a_generation_keeps_that_of_the_position() -> None:
    sifted = sift([arrival(3, generation="")], positions(2))

    assert sifted.next[0].position.generation == GENERATION


@given(st.lists(st.integers(1, 12)), st.integers(0, 6))
def test_the_next_events_are_consecutive_in_any_order_of_arrival(
    arrived: list[int], taken: int
) -> None:
    sifted = sift([arrival(number) for number in arrived], positions(taken))

    assert numbers(sifted.next) == list(range(taken + 1, taken + 1 + len(sifted.next)))
    assert len(sifted.doubts) <= 1
    if not sifted.doubts:
        assert len(sifted.next) + len(sifted.seen) == len(arrived)
