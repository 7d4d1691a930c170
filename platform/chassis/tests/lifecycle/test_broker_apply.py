"""`broker apply` creates the streams that a service in production does not create itself."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import psycopg
import pytest
from bookshop import eventually, prepare_database
from bookstore_process import BookstoreProcess
from certificates import Authority
from relaying import STREAM, Shop, StreamView

from localservers import NatsServer, PostgresServer, free_port

# A process may start slowly on a busy machine.
pytestmark = pytest.mark.timeout(300)


async def test_in_production_a_service_is_degraded_until_a_release_creates_its_streams(
    tmp_path: Path, nats: NatsServer
) -> None:
    bookstore = BookstoreProcess(tmp_path, nats_url=nats.url, environment="production")
    assert bookstore.command("migrate").returncode == 0
    with bookstore:
        advice = "`python -m bookstore broker apply` creates it"
        missing_streams = {
            "publishing": f"stream 'bookstore' is missing: {advice}",
            "members": f"stream 'slipway-members' is missing: {advice}",
        }

        async def names_both() -> bool:
            answer = (await bookstore.wait_for_answer("/readyz", 200)).json()
            states = answer["dependencies"]
            named = missing_streams.items() <= states.items()
            return bool(named and answer["status"] == "degraded")

        await eventually(names_both)

        missing = await asyncio.to_thread(bookstore.command, "broker", "apply", "--check")
        assert (missing.returncode, missing.stderr) == (1, "")
        assert missing.stdout.startswith("stream bookstore        missing bookstore.v1.")
        made = await asyncio.to_thread(bookstore.command, "broker", "apply")
        assert (made.returncode, made.stderr) == (0, "")
        assert made.stdout == missing.stdout.replace("missing", "made")
        await bookstore.wait_until_ready()
    again = await asyncio.to_thread(bookstore.command, "broker", "apply", "--check")
    assert (again.returncode, again.stderr) == (0, "")
    assert again.stdout == "stream bookstore        unchanged\nstream slipway-members  unchanged\n"


def test_more_copies_than_the_broker_can_keep_are_refused_with_its_reason(
    tmp_path: Path, nats: NatsServer
) -> None:
    bookstore = BookstoreProcess(tmp_path, nats_url=nats.url, stream_replicas="3")
    ran = bookstore.command("broker", "apply", "--wait", "0")
    assert (ran.returncode, ran.stdout) == (69, "")
    assert ran.stderr.startswith("the broker refused: ")
    assert "replicas" in ran.stderr


def test_the_command_waits_for_an_unavailable_broker_and_names_it(tmp_path: Path) -> None:
    url = f"nats://127.0.0.1:{free_port()}"
    ran = BookstoreProcess(tmp_path, nats_url=url).command("broker", "apply", "--wait", "1")
    assert (ran.returncode, ran.stdout) == (69, "")
    first, *_, last = ran.stderr.splitlines()
    assert first.startswith(f"waiting: the broker at {url} cannot be reached: ")
    assert last.startswith(f"the broker at {url} cannot be reached: ")
    wrong = BookstoreProcess(tmp_path, nats_url=url).command("broker", "destroy")
    assert wrong.returncode == 64


async def apply(bookstore: BookstoreProcess, *options: str) -> CompletedProcess[str]:
    return await asyncio.to_thread(bookstore.command, "broker", "apply", *options)


async def test_two_concurrent_releases_both_succeed(tmp_path: Path, nats: NatsServer) -> None:
    services = [BookstoreProcess(tmp_path / name, nats_url=nats.url) for name in "ab"]
    for ran in await asyncio.gather(*map(apply, services)):
        assert (ran.returncode, ran.stdout.count("\n")) == (0, 2)
    check = await apply(services[0], "--check")
    assert (check.returncode, check.stderr) == (0, "")


async def rank_before_creation(nats: NatsServer) -> str | None:
    """Return up to which rank the stream says that events were sent before it was created."""
    info = await StreamView(nats.url).api(f"STREAM.INFO.{STREAM}")
    rank: str | None = info["config"]["metadata"].get("slipway.made-after-rank")
    return rank


async def stream_names(nats: NatsServer) -> list[str]:
    return (await StreamView(nats.url).api("STREAM.NAMES"))["streams"] or []


async def test_the_command_waits_for_the_database_to_say_how_far_events_were_sent(
    tmp_path: Path, nats: NatsServer, own_postgres: PostgresServer
) -> None:
    url = own_postgres.create_database("bookstore")
    await asyncio.to_thread(prepare_database, url)
    async with Shop(url) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(3))
        await shop.sent()
    await StreamView(nats.url).api(f"STREAM.DELETE.{STREAM}")
    own_postgres.stop()
    applying = asyncio.create_task(
        apply(BookstoreProcess(tmp_path, nats_url=nats.url, database_url=url), "--wait", "200")
    )
    # The command waits for the database: it is still running, and has created no stream.
    done, _ = await asyncio.wait({applying}, timeout=5)
    assert not done
    assert await stream_names(nats) == []
    await asyncio.to_thread(own_postgres.start)
    made = await applying
    assert made.returncode == 0
    for line in made.stderr.splitlines():
        assert line.startswith("waiting: the database bookstore on 127.0.0.1 cannot say how far ")
    assert await rank_before_creation(nats) == "3"


@pytest.mark.parametrize("options", [(), ("--check",)])
async def test_an_unavailable_database_is_named_and_no_stream_created(
    tmp_path: Path, nats: NatsServer, own_postgres: PostgresServer, options: tuple[str, ...]
) -> None:
    url = own_postgres.create_database("bookstore")
    own_postgres.stop()
    bookstore = BookstoreProcess(tmp_path, nats_url=nats.url, database_url=url)
    ran = await apply(bookstore, "--wait", "0", *options)
    assert (ran.returncode, ran.stdout) == (69, "")
    (line,) = ran.stderr.splitlines()
    assert line.startswith("the database bookstore on 127.0.0.1 cannot say how far events ")
    assert "refused" in line
    assert line.endswith("or wait for it with --wait SECONDS")
    assert await stream_names(nats) == []


async def test_a_database_without_permissions_does_not_count_as_one_that_sent_nothing(
    tmp_path: Path, nats: NatsServer, postgres: PostgresServer
) -> None:
    url = postgres.create_database("without_permissions")
    await asyncio.to_thread(prepare_database, url)
    with psycopg.connect(url.replace("+psycopg", ""), autocommit=True) as connection:
        connection.execute("CREATE ROLE stranger LOGIN")
        bookstore = BookstoreProcess(
            tmp_path, nats_url=nats.url, database_url=url.replace("postgres@", "stranger@")
        )
        for denied, reason in (
            ("TABLE slipway_relay", "permission denied for table slipway_"),
            ("SCHEMA public", "no schema of its search_path may be used"),
        ):
            connection.execute(f"REVOKE ALL ON {denied} FROM PUBLIC")
            ran = await apply(bookstore, "--wait", "0")
            assert (ran.returncode, ran.stdout) == (69, "")
            assert reason in ran.stderr
    assert await stream_names(nats) == []


async def test_a_database_without_tables_has_sent_nothing_and_a_note_says_so(
    tmp_path: Path, nats: NatsServer, empty_database: Callable[[str], str]
) -> None:
    bookstore = BookstoreProcess(tmp_path, nats_url=nats.url, database_url=empty_database("new"))
    assert (await apply(bookstore, "--check")).stderr == ""
    made = await apply(bookstore)
    assert made.returncode == 0
    (line,) = made.stderr.splitlines()
    assert line.startswith("note: the database ")
    assert "has no tables yet: stream bookstore says that nothing was sent before it" in line
    assert await rank_before_creation(nats) == "0"
    assert (await apply(bookstore)).stderr == ""


async def test_a_url_of_no_database_is_an_invalid_setting(tmp_path: Path, nats: NatsServer) -> None:
    ran = await apply(BookstoreProcess(tmp_path, nats_url=nats.url, database_url="mysql://x/y"))
    assert (ran.returncode, ran.stdout) == (78, "")
    assert ran.stderr.startswith("APP_DATABASE_URL: is neither sqlite:///<file> nor ")
    assert await stream_names(nats) == []


async def test_without_a_database_the_stream_does_not_say_how_far_events_were_sent(
    tmp_path: Path, nats: NatsServer
) -> None:
    bookstore = BookstoreProcess(tmp_path, nats_url=nats.url, database_url="")
    made = await apply(bookstore)
    assert made.returncode == 0
    assert made.stderr.startswith("warning: no database ")
    assert await rank_before_creation(nats) is None


async def test_a_broker_with_tls_is_verified_by_the_authority_in_the_settings(
    tmp_path: Path,
) -> None:
    ours, others = Authority(tmp_path / "ours"), Authority(tmp_path / "others")
    broker, own = ours.issue("127.0.0.1"), ours.issue("release")
    config = (
        f'tls {{ cert_file: "{broker.certificate}", key_file: "{broker.key}", '
        f'ca_file: "{ours.ca}", verify: true, timeout: 10 }}\n'
    )
    shows = {
        "nats_tls_certificate_file": str(own.certificate),
        "nats_tls_key_file": str(own.key),
    }
    with NatsServer(tmp_path / "nats", config=config) as nats:
        url = nats.url.replace("nats://", "tls://")

        def bookstore(name: str, **settings: str) -> BookstoreProcess:
            return BookstoreProcess(tmp_path / name, nats_url=url, **settings)

        trusting = bookstore("trusting", nats_tls_ca_file=str(ours.ca), **shows)
        assert trusting.command("migrate").returncode == 0
        made = await apply(trusting)
        assert (made.returncode, made.stderr) == (0, "")
        for name, settings, reason in (
            ("others", {"nats_tls_ca_file": str(others.ca), **shows}, "APP_NATS_TLS_CA_FILE ("),
            ("systems", shows, "APP_NATS_TLS_CA_FILE (not set: the system's authorities)"),
            ("silent", {"nats_tls_ca_file": str(ours.ca)}, "asks for a certificate: set APP_NATS"),
        ):
            ran = await apply(bookstore(name, **settings), "--wait", "0")
            assert (ran.returncode, ran.stdout) == (69, "")
            (line,) = ran.stderr.splitlines()
            assert line.startswith(f"the broker at {url} cannot be reached: nats: ")
            assert reason in line
        # The service publishes with the same settings.
        with trusting:
            await trusting.wait_until_ready()
