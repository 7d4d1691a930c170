"""A consumer that leaves out events is detected, and one that is only slow is not."""

import pytest

from chassis.events.consumer.backlog import Backlog
from chassis.events.consumer.position import Position
from chassis.events.consumer.safety_net import SafetyNet
from chassis.events.jetstream.streams import StreamState

pytestmark = pytest.mark.unit

AT = {"it.happened.0": Position(5, "life", 50)}
STATE = StreamState("2026-01-01", 60, 1, 60, {})
AHEAD = {"it.happened.0": Backlog(3, 60, certain=True)}


def test_a_subject_whose_last_event_was_passed_is_missed_at_once() -> None:
    net = SafetyNet()
    net.note_delivery(60)

    assert net.find_missed(STATE, AHEAD, AT) == {"it.happened.0"}


def test_a_subject_is_missed_when_nothing_arrives_between_two_looks() -> None:
    net = SafetyNet()

    assert net.find_missed(STATE, AHEAD, AT) == set()
    assert net.find_missed(STATE, AHEAD, AT) == {"it.happened.0"}


def test_a_slow_consumer_that_still_delivers_misses_nothing() -> None:
    net = SafetyNet()
    for _ in range(3):
        net.note_delivery(50)
        assert net.find_missed(STATE, AHEAD, AT) == set()


def test_a_subject_that_may_hold_nothing_new_is_not_missed() -> None:
    net = SafetyNet()
    perhaps = {"it.happened.0": Backlog(3, 60, certain=False)}

    assert net.find_missed(STATE, perhaps, AT) == set()
    assert net.find_missed(STATE, perhaps, AT) == set()


def test_a_stream_without_a_backlog_needs_no_second_check() -> None:
    net = SafetyNet()
    net.find_missed(STATE, {}, AT)

    assert net.has_caught_up(STATE)
    assert not net.has_caught_up(StreamState("2026-01-01", 61, 1, 61, {}))


def test_a_stream_with_a_backlog_is_checked_again() -> None:
    net = SafetyNet()
    net.find_missed(STATE, AHEAD, AT)

    assert not net.has_caught_up(STATE)
