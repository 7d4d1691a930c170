"""Masks hide what differs in each run, and nothing else."""

from datetime import UTC, datetime, timedelta

import pytest

from chassis.ids import uuid7
from chassis.shadow.masks import Masks

pytestmark = pytest.mark.unit

BEGIN = datetime(2026, 11, 26, 12, tzinfo=UTC)


def test_a_new_id_is_named_by_the_event_that_it_was_first_seen_with() -> None:
    masks = Masks(BEGIN)
    one, other = uuid7(), uuid7()
    masked = masks.masked({"a": one, "b": [f"x {other} y", one.upper()]}, "event-1")
    assert masked == {
        "a": "<new id 1 of event-1>",
        "b": ["x <new id 2 of event-1> y", "<new id 1 of event-1>"],
    }
    assert masks.masked(other, "event-2") == "<new id 2 of event-1>"
    assert masks.masked(uuid7(), "event-2") == "<new id 1 of event-2>"


def test_ids_and_times_that_are_replayed_stay_as_they_are() -> None:
    masks = Masks(BEGIN)
    id, future = uuid7(), "2027-01-01T00:00:00Z"
    masks.learn(f'{{"id": "{id}", "at": "{future}"}}')
    assert masks.masked(id, "event-1", BEGIN) == id
    for kept in ("2027-01-01T01:00:00+01:00", "2026-11-26T11:59:59Z"):
        assert masks.masked(kept, "event-1", BEGIN) == kept


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "<now>"),
        (1.4, "<now>"),
        (4, "<now + 5 s>"),
        (5.9, "<now + 5 s>"),
        (899.2, "<now + 900 s>"),
    ],
)
def test_a_time_of_the_run_is_shown_by_its_distance_from_the_moment(
    seconds: float, shown: str
) -> None:
    masks, at = Masks(BEGIN), BEGIN + timedelta(minutes=3)
    moment = at + timedelta(seconds=seconds)
    assert masks.masked(f"due {moment.isoformat()}.", "event-1", at) == f"due {shown}."
    assert masks.masked(moment.isoformat(), "event-1") == "<a time of the run>"


def test_what_is_neither_an_id_nor_a_time_is_kept() -> None:
    masks = Masks(BEGIN)
    for value in (None, True, 17, 1.5, "", "book-1", "2026-13-45T99:00:00Z", "1-2-3-4-5", ["x"]):
        assert masks.masked(value, "event-1", BEGIN) == value
