"""The subjects that a reader reads, and the filters by which its consumer selects them."""

import pytest

from chassis.events.consumer.subjects import consumer_filters, subjects_of_lanes
from chassis.events.wire.lanes import LANES

pytestmark = pytest.mark.unit

TYPES = ["bookstore.v1.BookSold", "bookstore.v1.BookReturned"]


def test_each_type_has_a_subject_in_each_lane() -> None:
    assert subjects_of_lanes([3, 4], TYPES) == [
        "bookstore.v1.BookSold.3",
        "bookstore.v1.BookReturned.3",
        "bookstore.v1.BookSold.4",
        "bookstore.v1.BookReturned.4",
    ]


def test_all_lanes_of_all_types_need_one_filter_for_each_type() -> None:
    every = subjects_of_lanes(range(LANES), TYPES)

    assert consumer_filters(every, TYPES) == [f"{type}.*" for type in TYPES]
    assert consumer_filters(every[1:], TYPES) == sorted(every[1:])
