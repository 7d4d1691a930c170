"""Lanes without an owner are warned of if they stay so for longer than a start takes."""

import pytest
from hand_clock import HandClock
from structlog.testing import capture_logs

from chassis.events.membership.unowned import UnownedLanes

pytestmark = pytest.mark.unit


@pytest.fixture
def clock() -> HandClock:
    return HandClock()


@pytest.fixture
def unowned(clock: HandClock) -> UnownedLanes:
    return UnownedLanes(30, clock)


def test_lanes_that_get_an_owner_within_the_time_of_a_start_are_not_warned_of(
    unowned: UnownedLanes, clock: HandClock
) -> None:
    with capture_logs() as logs:
        for lanes in (14, 7, 0):
            unowned.note(lanes)
            clock.now += 14
            unowned.look()
    assert logs == []


def test_lanes_that_stay_without_an_owner_are_warned_of_once_until_each_has_one(
    unowned: UnownedLanes, clock: HandClock
) -> None:
    with capture_logs() as logs:
        for lanes in (14, 14, 14, 14, 0, 0):
            unowned.note(lanes)
            clock.now += 20
            unowned.look()
    assert [(each["log_level"], each.get("lanes")) for each in logs] == [
        ("warning", 14),
        ("info", None),
    ]


def test_the_time_begins_again_when_lanes_lose_their_owner_again(
    unowned: UnownedLanes, clock: HandClock
) -> None:
    with capture_logs() as logs:
        for lanes in (14, 0, 14):
            unowned.note(lanes)
            clock.now += 20
            unowned.look()
    assert logs == []
