"""A shadow needs what a service's role may do on PostgreSQL: change rows, make temporary tables."""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass

import psycopg
import pytest
from psycopg import sql
from relaying import Shop
from shadow_runs import Shadowed
from sqlalchemy import make_url

from bookstore.v1 import BookSold
from chassis import EventRouter
from chassis.exit_codes import FAILED, OK
from localservers import NatsServer, PostgresServer


@dataclass(frozen=True)
class Limited:
    """A role that neither owns anything in a database nor may create a schema there."""

    role: str
    url: str
    superuser_url: str

    def grant(self, privileges: str) -> None:
        database = make_url(self.url).database
        assert database is not None
        self.execute(
            f"GRANT {privileges} ON DATABASE {{}} TO {{}}",
            sql.Identifier(database),
            sql.Identifier(self.role),
        )

    def execute(self, statement: str, *names: sql.Composable) -> None:
        with psycopg.connect(self.superuser_url, autocommit=True) as connection:
            connection.execute(sql.SQL(statement).format(*names))


@pytest.fixture
def limited(postgres: PostgresServer, prepared_postgres: str) -> Iterator[Limited]:
    """A role as the chart makes it, without privileges for the database itself."""
    name = f"books_{uuid.uuid4().hex[:8]}"
    url = postgres.create_database(name, template=prepared_postgres)
    parsed = make_url(url).set(drivername="postgresql")
    role = f"{name}_role"
    limited = Limited(
        role,
        make_url(url).set(username=role).render_as_string(),
        parsed.render_as_string(hide_password=False),
    )
    limited.execute("CREATE ROLE {} LOGIN", sql.Identifier(role))
    limited.execute("REVOKE ALL ON DATABASE {} FROM PUBLIC", sql.Identifier(name))
    rows = "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA public TO {}"
    limited.execute(rows, sql.Identifier(role))
    yield limited
    limited.execute("DROP OWNED BY {}", sql.Identifier(role))
    limited.execute("DROP ROLE {}", sql.Identifier(role))


def accepting() -> EventRouter:
    events = EventRouter()

    @events.on(BookSold)
    def sell(book: BookSold) -> None: ...

    return events


async def test_a_role_that_may_change_rows_and_make_temporary_tables_can_replay(
    nats: NatsServer, limited: Limited, shop: Shop
) -> None:
    limited.grant("CONNECT, TEMPORARY")
    await shop.sell(range(2))
    await shop.sent()
    replayed = await Shadowed(accepting(), limited.url, nats.url).replay()
    assert (replayed.ran.code, replayed.outcomes) == (OK, ["handled", "handled"])


async def test_a_role_without_that_privilege_is_told_which_one_is_missing(
    nats: NatsServer, limited: Limited, shop: Shop
) -> None:
    limited.grant("CONNECT")
    await shop.sell(range(2))
    await shop.sent()
    replayed = await Shadowed(accepting(), limited.url, nats.url).replay()
    assert replayed.ran.code == FAILED
    assert "permission denied to create temporary tables" in replayed.ran.err
    assert f"can grant it to the role {limited.role}" in replayed.ran.err
    assert "migrate" not in replayed.ran.err
