"""Batches get smaller when they fail and larger when they are stored."""

import pytest

from chassis.events.producer.batch_size import BatchSize

pytestmark = pytest.mark.unit


def stored(size: BatchSize, times: int) -> list[int]:
    """Return the sizes of batches that are all stored."""
    sizes = []
    for _ in range(times):
        sizes.append(size.now)
        size.stored()
    return sizes


def test_a_failed_batch_is_halved_and_stored_ones_double_up_to_the_most() -> None:
    size = BatchSize(100)
    size.failed(100)
    assert stored(size, 3) == [50, 100, 100]


def test_a_limit_holds_for_all_later_batches_until_it_is_raised() -> None:
    size = BatchSize(8)
    size.limit(1)
    assert stored(size, 3) == [1, 1, 1]
    size.limit(8)
    assert stored(size, 5) == [1, 2, 4, 8, 8]


def test_a_size_never_falls_below_one() -> None:
    size = BatchSize(100)
    for events in (3, 1, 1):
        size.failed(events)
    assert size.now == 1


def test_refused_batches_make_single_events_for_twice_as_long_each_time() -> None:
    size = BatchSize(4)
    size.send_single()
    assert stored(size, 17) == [1] * 17
    assert size.now == 2
    size.send_single()
    assert stored(size, 33) == [1] * 33
    assert size.now == 2


def test_a_stored_batch_ends_the_growth_of_single_events() -> None:
    size = BatchSize(4)
    size.send_single()
    stored(size, 19)
    size.send_single()
    assert stored(size, 18) == [1] * 17 + [2]
