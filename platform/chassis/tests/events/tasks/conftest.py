"""Fixtures of the tasks' tests."""

from typing import Any

import pytest

from chassis.events.tasks import claims
from chassis.events.tasks.task import Task


@pytest.fixture
def claimed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A member's first claim; all later ones return nothing.

    On a busy machine a lease may expire, and without this a task could change its owner.
    """
    claim, claimed = claims.claim, list[Task]()

    def first(*arguments: Any, **options: Any) -> tuple[list[Task], int]:
        if claimed:
            return [], 0
        tasks, freed = claim(*arguments, **options)
        claimed.extend(tasks)
        return tasks, freed

    monkeypatch.setattr(claims, "claim", first)
