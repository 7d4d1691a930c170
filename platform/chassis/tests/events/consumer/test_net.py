"""A consumer that leaves out events is found out, and one that is merely slow is not."""

from chassis.events.consumer.behind import Behind
from chassis.events.consumer.net import Net
from chassis.events.consumer.positions import Position
from chassis.events.jetstream.streams import StreamState

AT = {"it.happened.0": Position(5, "life", 50)}
STATE = StreamState("2026-01-01", 60, 1, 60, {})
AHEAD = {"it.happened.0": Behind(3, 60, certain=True)}


def test_a_subject_whose_last_event_was_passed_is_missed_at_once() -> None:
    net = Net()
    net.message_arrived()
    net.read_to(60)

    assert net.missed(STATE, AHEAD, AT) == {"it.happened.0"}


def test_a_subject_is_missed_when_nothing_arrives_between_two_looks() -> None:
    net = Net()

    assert net.missed(STATE, AHEAD, AT) == set()
    assert net.missed(STATE, AHEAD, AT) == {"it.happened.0"}


def test_a_slow_consumer_that_still_delivers_misses_nothing() -> None:
    net = Net()
    for _ in range(3):
        net.message_arrived()
        assert net.missed(STATE, AHEAD, AT) == set()


def test_a_subject_that_may_hold_nothing_new_is_not_missed() -> None:
    net = Net()
    perhaps = {"it.happened.0": Behind(3, 60, certain=False)}

    assert net.missed(STATE, perhaps, AT) == set()
    assert net.missed(STATE, perhaps, AT) == set()


def test_a_stream_of_which_all_was_taken_needs_no_second_look() -> None:
    net = Net()
    net.missed(STATE, {}, AT)

    assert net.knows(STATE)
    assert not net.knows(StreamState("2026-01-01", 61, 1, 61, {}))


def test_a_stream_that_holds_more_is_looked_at_again() -> None:
    net = Net()
    net.missed(STATE, AHEAD, AT)

    assert not net.knows(STATE)
