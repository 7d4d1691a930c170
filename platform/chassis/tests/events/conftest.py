"""Fixtures of the events' tests: a service's tasks, and replicas as processes."""

from collections.abc import Callable, Iterator

import pytest
from replicas import Replicas
from task_store import TaskStore


@pytest.fixture(scope="session")
def _replicas() -> Iterator[Replicas]:
    replicas = Replicas()
    yield replicas
    replicas.close()


@pytest.fixture
def replicas(_replicas: Replicas) -> Iterator[Replicas]:
    """A starter of replicas in processes of their own, which are killed after the test."""
    yield _replicas
    _replicas.end()


@pytest.fixture
def task_store(new_database: Callable[[str], str]) -> Iterator[TaskStore]:
    """The tasks of a service, in a database of their own."""
    task_store = TaskStore(new_database("tasks"))
    yield task_store
    task_store.close()
