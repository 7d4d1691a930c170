"""Fixtures of the operators' tests."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from task_store import TaskStore


@pytest.fixture
def task_store(prepared_sqlite: str, tmp_path: Path) -> Iterator[TaskStore]:
    """The tasks and dead letters of a service, in a SQLite file."""
    made = TaskStore(f"sqlite:///{shutil.copy(prepared_sqlite, tmp_path / 'books.db')}")
    yield made
    made.close()
