"""The start: live at once, ready when the service can work, refused with a line if it never can."""

import asyncio
import re
import socket
from collections.abc import Callable
from pathlib import Path

import grpc.aio
import psutil
import pytest
from bookstore_process import BookstoreProcess
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from chassis.database import migrate
from localservers import NatsServer, PostgresServer
from slipway.v1 import GetEventLedgerRequest, LedgerServiceAsyncStub, LedgerServiceStub

NewDatabase = Callable[[str], str]
# A process may start slowly on a busy machine.
pytestmark = pytest.mark.timeout(300)


async def test_a_service_is_live_without_its_database_and_ready_with_it(
    tmp_path: Path, own_postgres: PostgresServer
) -> None:
    own_postgres.stop()
    with BookstoreProcess(tmp_path, database_url=own_postgres.url()) as bookstore:
        await bookstore.wait_for_answer("/livez", 200)
        answer = await bookstore.wait_for_answer("/readyz", 503)
        assert answer.json()["status"] == "starting"
        await bookstore.wait_for_answer("/startupz", 503)
        own_postgres.start()
        await bookstore.wait_for_answer("/startupz", 200)
        answer = await bookstore.wait_for_answer("/readyz", 200)
        assert answer.json()["dependencies"]["database"] == "ok"
        bookstore.send_signal()
        assert await bookstore.wait_for_exit() == 0
    assert "waiting for the database" in bookstore.logged_events()


async def test_a_service_that_ends_while_it_waits_for_its_database_leaves_no_process(
    tmp_path: Path, own_postgres: PostgresServer
) -> None:
    own_postgres.stop()
    with BookstoreProcess(tmp_path, database_url=own_postgres.url()) as bookstore:
        await bookstore.wait_for_answer("/livez", 200)
        assert bookstore.process is not None
        children = psutil.Process(bookstore.process.pid).children(recursive=True)
        bookstore.send_signal()
        assert await bookstore.wait_for_exit() == 0
    # A process that is left, and be it as a zombie, counts as running.
    assert not [child for child in children if child.is_running()]


async def test_a_service_is_degraded_until_the_broker_is_available(
    tmp_path: Path, empty_database: NewDatabase
) -> None:
    nats = NatsServer(tmp_path / "nats")
    with BookstoreProcess(
        tmp_path, nats_url=nats.url, database_url=empty_database("bookstore")
    ) as bookstore:
        answer = await bookstore.wait_for_answer("/readyz", 200)
        assert answer.json()["dependencies"] == {"database": "ok", "broker": "unavailable"}
        assert answer.json()["status"] == "degraded"
        with nats:
            await bookstore.wait_until_ready()
            bookstore.send_signal()
            assert await bookstore.wait_for_exit() == 0


async def test_a_ready_service_reports_it_over_grpc_and_serves_its_ledger(
    tmp_path: Path, nats: NatsServer, empty_database: NewDatabase
) -> None:
    with BookstoreProcess(
        tmp_path, nats_url=nats.url, database_url=empty_database("bookstore")
    ) as bookstore:
        await bookstore.wait_until_ready()
        async with grpc.aio.insecure_channel(f"127.0.0.1:{bookstore.grpc_port}") as channel:
            health = health_pb2_grpc.HealthStub(channel)
            request = health_pb2.HealthCheckRequest(service="bookstore.v1.BooksService")
            async for answer in health.Watch(request):
                if answer.status == health_pb2.HealthCheckResponse.SERVING:
                    break
            ledger: LedgerServiceAsyncStub = LedgerServiceStub(channel)
            counted = await ledger.GetEventLedger(GetEventLedgerRequest())
        assert (counted.unsent, counted.tasks, counted.dead_letters) == (0, 0, 0)
        assert list(counted.stopped) == []


async def test_a_port_in_use_stops_the_start_with_one_line_that_names_its_variable(
    tmp_path: Path,
) -> None:
    for variable, port in (("APP_HTTP_PORT", "http_port"), ("APP_GRPC_PORT", "grpc_port")):
        bookstore = BookstoreProcess(tmp_path, nats_url="nats://127.0.0.1:1")
        with socket.socket() as taken:
            taken.bind(("127.0.0.1", getattr(bookstore, port)))
            taken.listen()
            with bookstore:
                assert await bookstore.wait_for_exit() == 1
        errors = [line["reason"] for line in bookstore.log_lines() if line.get("level") == "error"]
        bookstore.log.unlink()
        assert len(errors) == 1
        assert f"port {getattr(bookstore, port)} on 127.0.0.1 is in use" in errors[0]
        assert variable in errors[0]


async def test_in_production_a_start_waits_for_migrations_and_runs_none(
    tmp_path: Path, empty_database: NewDatabase
) -> None:
    bookstore = BookstoreProcess(
        tmp_path, environment="production", database_url=empty_database("production")
    )
    with bookstore:
        await bookstore.wait_for_log(
            "waiting for the database",
            reason="migrations are missing: run `python -m bookstore migrate`",
        )
        assert (await bookstore.wait_for_answer("/readyz", 503)).json()["status"] == "starting"
        migrated = await asyncio.to_thread(bookstore.command, "migrate")
        assert migrated.returncode == 0
        assert re.fullmatch(r"migrated from nothing to chassis_\d+\n", migrated.stdout)
        await bookstore.wait_for_answer("/readyz", 200)
    again = await asyncio.to_thread(bookstore.command, "migrate")
    assert again.returncode == 0
    said = r"nothing to migrate: the database is at chassis_\d+\n"
    assert re.fullmatch(said, again.stdout)


async def test_another_services_database_is_refused_with_a_line(
    tmp_path: Path, empty_database: NewDatabase
) -> None:
    url = empty_database("audit")
    migrate(url, service="audit")
    bookstore = BookstoreProcess(tmp_path, database_url=url)
    refusal = "this database belongs to the service 'audit', so 'bookstore' does not use it"
    ran = await asyncio.to_thread(bookstore.command, "migrate")
    assert (ran.returncode, ran.stdout) == (1, "")
    assert refusal in ran.stderr
    for environment in ("development", "production"):
        bookstore.environment["APP_ENVIRONMENT"] = environment
        with bookstore:
            assert await bookstore.wait_for_exit() == 1
        errors = [line["reason"] for line in bookstore.log_lines() if line.get("level") == "error"]
        bookstore.log.unlink()
        assert len(errors) == 1
        assert refusal in errors[0]


def test_wrong_settings_stop_the_start_with_a_line_each_and_exit_code_78(tmp_path: Path) -> None:
    bookstore = BookstoreProcess(tmp_path, copies="many", log_level="LOUD")
    ran = bookstore.command()
    assert ran.returncode == 78
    assert [line.split(":")[0] for line in ran.stderr.splitlines()] == [
        "APP_LOG_LEVEL",
        "APP_COPIES",
    ]
    assert ran.stdout == ""


async def test_an_unknown_setting_is_a_warning(tmp_path: Path) -> None:
    warning = "APP_COPYS is not a setting of this service; did you mean APP_COPIES?"
    bookstore = BookstoreProcess(tmp_path, copys="1")
    ran = bookstore.command("--settings")
    assert ran.returncode == 0
    assert warning in ran.stderr
    with bookstore:
        await bookstore.wait_for_log(
            "environment variable ignored", reason=warning, level="warning"
        )
        assert bookstore.logged_events()[0] == "environment variable ignored"


async def test_addresses_and_database_are_logged(tmp_path: Path) -> None:
    bookstore = BookstoreProcess(tmp_path)
    with bookstore:
        await bookstore.wait_for_log("service started")
        (line,) = (line for line in bookstore.log_lines() if line["event"] == "service started")
    assert line["http"] == f"127.0.0.1:{bookstore.http_port}"
    assert line["grpc"] == f"127.0.0.1:{bookstore.grpc_port}"
    assert line["database"] == str(tmp_path / "bookstore.db")


def test_the_effective_settings_are_printed_with_secrets_masked(tmp_path: Path) -> None:
    ran = BookstoreProcess(tmp_path, copies="3").command("--settings")
    assert ran.returncode == 0
    assert "APP_COPIES=3 " in ran.stdout
    assert "APP_DATABASE_URL=**********" in ran.stdout
    assert "bookstore.db" not in ran.stdout


def test_an_invalid_definition_is_refused_with_a_line_for_each_fault(
    tmp_path: Path,
) -> None:
    ran = BookstoreProcess(tmp_path, module="bookstore_service.broken").command()
    assert ran.returncode == 70
    assert [line.split("has no ")[1] for line in ran.stderr.splitlines()] == [
        "method sell_book for the RPC bookstore.v1.BooksService.SellBook",
        "method get_book for the RPC bookstore.v1.BooksService.GetBook",
    ]


def test_an_unknown_command_prints_the_usage(tmp_path: Path) -> None:
    ran = BookstoreProcess(tmp_path).command("destroy")
    assert ran.returncode == 64
    assert ran.stderr == (
        "usage: python -m bookstore [--settings]\n"
        "       python -m bookstore migrate [--wait SECONDS]\n"
        "       python -m bookstore broker apply [--help]\n"
        "       python -m bookstore (dead-letters | events | outbox) [--help]\n"
    )
