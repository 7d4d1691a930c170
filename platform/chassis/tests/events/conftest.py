"""Fixtures of the events' tests: a service's tasks, and replicas as processes."""

from collections.abc import Callable, Iterator

import pytest
from desk import Desk
from replicas import Replicas


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
def desk(new_database: Callable[[str], str]) -> Iterator[Desk]:
    """The tasks of a service, in a database of their own."""
    desk = Desk(new_database("desk"))
    yield desk
    desk.close()
