"""SQLite databases in folders whose names have characters with a meaning in URLs."""

from pathlib import Path

import pytest
from sqlalchemy import text

from chassis.database.engine import database_file, make_engine
from chassis.sqlite_url import sqlite_url

pytestmark = pytest.mark.unit

NAMES = [
    "plain",
    "a b",
    "größe",
    "50% off",
    "what?",
    "c#1",
    "a&b=c",
    "x:y@z",
    "a%3Fb",
    "[b]",
    "'q\"",
]


@pytest.mark.parametrize("name", NAMES)
def test_a_sqlite_database_is_in_its_folder_whatever_its_name(tmp_path: Path, name: str) -> None:
    file = tmp_path / name / "books.db"
    url = sqlite_url(file)
    assert database_file(url) == file
    engine = make_engine(url, 1)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE books (id INTEGER)"))
    engine.dispose()
    assert file.exists()
    assert [found.name for found in tmp_path.iterdir()] == [name]
