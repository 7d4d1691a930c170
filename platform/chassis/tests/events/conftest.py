"""Fixtures of the events' tests: a service's tasks, and replicas as processes."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from replicas import Replicas
from task_store import TaskStore


@pytest.fixture
def replicas(tmp_path: Path) -> Iterator[Replicas]:
    """A starter of replicas in processes of their own, which are killed after the test."""
    replicas = Replicas(tmp_path / "replicas.log")
    yield replicas
    replicas.end()


@pytest.fixture
def task_store(new_database: Callable[[str], str]) -> Iterator[TaskStore]:
    """The tasks of a service, in a database of their own."""
    task_store = TaskStore(new_database("tasks"))
    yield task_store
    task_store.close()
