"""A migrated database of each kind for the methods of a server."""

from collections.abc import Callable

import pytest
from books_rpc import Servers

from chassis.database import Database, migrate


@pytest.fixture
def database(rpc: Servers, new_database: Callable[[str], str]) -> Database:
    url = new_database("books")
    migrate(url)
    return rpc.database(url)
