"""Delivered messages are limited in number and in bytes, and keep their order."""

import pytest

from chassis.events.consumer.deliveries import Deliveries
from chassis.events.jetstream.delivery import Delivery

pytestmark = pytest.mark.unit


def delivery(data: bytes, headers: int = 0) -> Delivery:
    return Delivery("it.happened.0", "", {}, data, headers + len(data))


def deliveries(*sizes: int) -> Deliveries:
    queue = Deliveries()
    for size in sizes:
        queue.add(delivery(b"x" * size))
    return queue


def sizes(batch: list[Delivery]) -> list[int]:
    return [len(message.data) for message in batch]


def test_a_batch_has_at_most_that_many_messages_and_the_rest_stays() -> None:
    queue = deliveries(1, 2, 3)

    assert sizes(queue.next_batch(2, 1000)) == [1, 2]
    assert (len(queue), queue.bytes) == (1, 3)


def test_only_the_last_message_of_a_batch_exceeds_the_bytes() -> None:
    queue = deliveries(10, 10, 10)

    assert sizes(queue.next_batch(100, 15)) == [10, 10]


def test_a_message_larger_than_the_limit_is_a_batch_of_its_own() -> None:
    queue = deliveries(1000, 1)

    assert sizes(queue.next_batch(100, 10)) == [1000]
    assert sizes(queue.next_batch(100, 10)) == [1]


def test_headers_count_as_bytes() -> None:
    queue = Deliveries()
    queue.add(delivery(b"12", headers=5))

    assert queue.bytes == 7


def test_a_new_message_sets_the_event_that_a_reader_waits_for() -> None:
    queue = Deliveries()
    assert not queue.changed.is_set()
    queue.add(delivery(b""))

    assert queue.changed.is_set()
