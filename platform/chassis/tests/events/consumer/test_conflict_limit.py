"""The number of events that a reader commits at once after conflicts."""

import pytest

from chassis.events.consumer.conflict_limit import ConflictLimit

pytestmark = pytest.mark.unit


def test_a_conflict_quarters_what_is_committed_at_once() -> None:
    limit = ConflictLimit(500)
    found = []
    for _ in range(6):
        found.append(limit.events)
        limit.conflicted(limit.events)
    assert found == [500, 125, 31, 7, 1, 1]


def test_a_conflict_of_a_small_batch_counts_by_its_own_events() -> None:
    limit = ConflictLimit(500)
    limit.conflicted(40)
    assert limit.events == 10


def test_the_limit_doubles_after_a_thousand_commits_without_a_conflict() -> None:
    limit = ConflictLimit(500)
    limit.conflicted(500)
    for events in (125, 250, 500, 500):
        assert limit.events == events
        for _ in range(999):
            limit.committed()
        assert limit.events == events
        limit.committed()


def test_a_conflict_restarts_the_count_of_commits() -> None:
    limit = ConflictLimit(500)
    limit.conflicted(500)
    for _ in range(999):
        limit.committed()
    limit.conflicted(125)
    limit.committed()
    assert limit.events == 31
