"""TLS to PostgreSQL follows its URL, and each fault of the parameters is one line."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio
from certificates import Authority
from sqlalchemy import text
from tls_front import TlsFront

from bookstore.v1 import BookSold
from chassis.database import Database, DatabaseDown, migrate
from chassis.database.leadership import Lock
from chassis.database.tls import problems
from chassis.events.producer.event_factory import EventFactory
from localservers import PostgresServer


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path / "ca")


@pytest_asyncio.fixture
async def front(postgres: PostgresServer, authority: Authority) -> AsyncIterator[TlsFront]:
    pair = authority.issue("127.0.0.1")
    async with TlsFront.started(postgres.port, pair, callers_ca=authority.ca) as started:
        yield started


def url_of(front: TlsFront, **parameters: object) -> str:
    query = "&".join(f"{name}={value}" for name, value in parameters.items())
    return f"postgresql+psycopg://postgres@127.0.0.1:{front.port}/postgres?{query}"


async def test_every_connection_is_encrypted_and_shows_the_certificate_of_the_url(
    front: TlsFront, authority: Authority, postgres: PostgresServer, tmp_path: Path
) -> None:
    own = authority.issue("postgres")
    own.key.chmod(0o600)
    database_name = postgres.create_database(f"tls_{front.port}").rpartition("/")[2]
    url = url_of(
        front,
        sslmode="verify-full",
        sslrootcert=authority.ca,
        sslcert=own.certificate,
        sslkey=own.key,
    ).replace("/postgres?", f"/{database_name}?")
    assert list(problems(url)) == []
    await asyncio.to_thread(migrate, url)
    database = Database(url, EventFactory("bookstore", (BookSold,)))
    await database.check()
    await database.read(lambda tx: tx.session.execute(text("SELECT 1")))
    await database.transaction(lambda tx: tx.session.execute(text("SELECT 1")))
    lock = Lock(url, "relay")
    assert await asyncio.to_thread(lock.acquire)
    await asyncio.to_thread(lock.release)
    await asyncio.to_thread(database.close)
    assert front.encrypted >= 4
    assert front.plain == 0


@pytest.mark.parametrize(
    ("wrong", "said"),
    [("authority", "certificate verify failed"), ("name", "does not match host name")],
)
async def test_a_server_with_a_wrong_certificate_is_refused_with_the_reason(
    postgres: PostgresServer, authority: Authority, tmp_path: Path, wrong: str, said: str
) -> None:
    pair = authority.issue("127.0.0.1" if wrong == "authority" else "elsewhere.internal")
    trusted = authority if wrong == "name" else Authority(tmp_path / "others")
    async with TlsFront.started(postgres.port, pair) as front:
        url = url_of(front, sslmode="verify-full", sslrootcert=trusted.ca)
        database = Database(url, EventFactory("bookstore", (BookSold,)))
        with pytest.raises(DatabaseDown) as down:
            await database.check()
        await asyncio.to_thread(database.close)
    assert said in str(down.value)


@pytest.mark.parametrize(
    ("query", "said"),
    [
        (
            "sslmode=full",
            "APP_DATABASE_URL: sslmode is 'full'; "
            "it can be disable, allow, prefer, require, verify-ca, verify-full",
        ),
        (
            "sslrootcert=/no/such.pem",
            "APP_DATABASE_URL: sslrootcert: /no/such.pem cannot be read: No such file or directory",
        ),
        ("sslcert=/dev/null", "APP_DATABASE_URL: sslkey is required with sslcert"),
        ("sslkey=/dev/null", "APP_DATABASE_URL: sslcert is required with sslkey"),
    ],
)
def test_each_wrong_parameter_is_one_line(query: str, said: str) -> None:
    url = f"postgresql+psycopg://u:s3cret@db/books?{query}"
    assert list(problems(url)) == [said]


def test_the_authorities_of_the_system_are_not_a_file() -> None:
    url = "postgresql+psycopg://u:s3cret@db/books?sslmode=verify-full&sslrootcert=system"
    assert list(problems(url)) == []
