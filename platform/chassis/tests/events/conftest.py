"""Replicas for the tests that need more than one process."""

from collections.abc import Iterator

import pytest
from replicas import Replicas


@pytest.fixture(scope="session")
def _replicas() -> Iterator[Replicas]:
    replicas = Replicas()
    yield replicas
    replicas.close()


@pytest.fixture
def replicas(_replicas: Replicas) -> Iterator[Replicas]:
    """Starts replicas in processes of their own; at the end they are killed."""
    yield _replicas
    _replicas.end()
