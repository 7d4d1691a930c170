"""Fixtures of the tests of RPCs."""

from collections.abc import Callable

import pytest
from books_rpc import Servers

from chassis.database import Database


@pytest.fixture
def database(rpc: Servers, new_database: Callable[[str], str]) -> Database:
    return rpc.database(new_database("books"))
