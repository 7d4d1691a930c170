"""Events are handed to their handlers in groups of one type, and each key keeps its order."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bookstore.v1 import BookSold
from chassis import EventContext
from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.batch import group_by_handler
from chassis.events.consumer.position import Position
from chassis.events.handlers.binding import Handler

pytestmark = pytest.mark.unit

TYPES = {
    type: Handler(BookSold, type, "one", "oldest", type, lambda: None, (), {})
    for type in ("A", "B", "C")
}
ARRIVING = st.lists(st.tuples(st.sampled_from("ABC"), st.sampled_from("xyz")), max_size=30)


def arriving(type: str, key: str, number: int) -> Arrival:
    arrival = Arrival(f"{type}.0", type, 0, Position(number, "", number), {}, b"")
    arrival.context = EventContext(id=str(number), type=type, source="s", partition_key=key)
    return arrival


@given(ARRIVING)
def test_events_of_one_type_are_grouped_and_each_key_keeps_its_order(
    events: list[tuple[str, str]],
) -> None:
    arrivals = [arriving(type, key, n) for n, (type, key) in enumerate(events)]
    groups = group_by_handler(arrivals, TYPES)
    called = [arrival for group in groups for arrival in group.arrivals]
    assert sorted(map(id, called)) == sorted(map(id, arrivals))
    for group in groups:
        assert {arrival.type for arrival in group.arrivals} == {group.handler.type}
    for key in "xyz":
        order = [a.position.number for a in called if a.key[1] == key]
        assert order == sorted(order)
    if len({key for _, key in events}) == len(events):
        assert len(groups) == len({type for type, _ in events})
