"""`python -m <service>`: settings, migrations, and starts without a dependency."""

import asyncio
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from forked_python import run_module
from grpc_health.v1 import health_pb2, health_pb2_grpc  # type: ignore[import-untyped]

from demo.channel import open_channel
from devkit.service_process import ServiceProcess
from localservers import NatsServer, free_port
from shop.inventory.v1 import (
    InventoryServiceAsyncStub,
    InventoryServiceStub,
    ListProductsRequest,
)

# Starting many processes takes long on a busy machine.
pytestmark = pytest.mark.timeout(300)


def run(service: str, *arguments: str, **variables: str) -> tuple[int, list[str], list[str]]:
    """Run a command to its end, and return its exit code and the lines of its two outputs."""
    done = run_module(service, *arguments, environment=without_settings() | variables)
    return done.returncode, done.stdout.splitlines(), done.stderr.splitlines()


def without_settings() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith("APP_")}


@pytest.mark.parametrize("service", ["gateway", "orders"])
def test_the_effective_settings_are_printed_with_secrets_masked(service: str) -> None:
    code, out, err = run(
        service,
        "--settings",
        APP_DATABASE_URL="postgresql://shop:s3cret@db.example/shop",
        APP_NATS_URL="nats://me:s3cret@broker.example:4222",
        APP_LOG_LEVEL="WARNING",
    )

    assert (code, err) == (0, [])
    values = dict(re.split(r"=", line.split("  #")[0].strip(), maxsplit=1) for line in out)
    assert values["APP_LOG_LEVEL"] == "WARNING"
    assert values["APP_DATABASE_URL"] == "**********"
    assert values["APP_NATS_URL"] == "nats://***@broker.example:4222"
    assert "s3cret" not in "\n".join(out)
    assert all("#" in line for line in out), "each setting must have a description"


@pytest.mark.parametrize("arguments", [[], ["migrate"], ["--settings"]])
def test_invalid_settings_end_the_process_with_78_and_a_line_for_each(
    arguments: list[str],
) -> None:
    code, out, err = run(
        "orders",
        *arguments,
        APP_HTTP_PORT="eighty",
        APP_LOG_LEVEL="LOUD",
        APP_ORDER_TIMEOUT_SECONDS="-1",
        APP_DATABASE_URL="postgresql://shop:s3cret@db.example/shop",
    )

    assert code == 78
    assert out == []
    assert [line.split(":")[0] for line in err] == [
        "APP_HTTP_PORT",
        "APP_LOG_LEVEL",
        "APP_ORDER_TIMEOUT_SECONDS",
    ]
    assert "s3cret" not in "\n".join(err)


def test_a_default_secret_is_refused_in_production() -> None:
    code, _, err = run("orders", APP_ENVIRONMENT="production")

    assert code == 78
    assert [line.split(":")[0] for line in err] == ["APP_DATABASE_URL"]


def test_an_interpreter_of_its_own_runs_a_command() -> None:
    command = [sys.executable, "-m", "orders", "--settings"]
    done = subprocess.run(
        command, env=without_settings(), capture_output=True, encoding="utf-8", timeout=120
    )

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.splitlines() == run("orders", "--settings")[1]


def test_a_misspelt_variable_is_named_with_the_similar_setting() -> None:
    code, _, err = run("orders", "--settings", APP_ORDER_TIME_OUT_SECONDS="5")

    assert code == 0
    assert len(err) == 1
    assert "did you mean APP_ORDER_TIMEOUT_SECONDS" in err[0]


def test_an_unknown_argument_is_refused_with_the_usage() -> None:
    code, _, err = run("orders", "serve")

    assert code == 64
    assert err == [
        "usage: python -m orders [--settings]",
        "       python -m orders migrate [--wait SECONDS]",
        "       python -m orders broker apply [--help]",
        "       python -m orders (dead-letters | events | outbox) [--help]",
    ]


@pytest.mark.parametrize("service", ["gateway", "orders"])
def test_migrate_updates_a_database_once(service: str, tmp_path: Path) -> None:
    database = tmp_path / "data.db"
    variables = {"APP_DATABASE_URL": f"sqlite:///{database}"}

    first = run(service, "migrate", **variables)
    second = run(service, "migrate", **variables)

    if service == "gateway":
        assert first == second == (0, ["gateway has no database"], [])
        return
    (line,) = first[1]
    assert re.fullmatch(r"migrated from nothing to chassis_\d{4}, orders_\d{4}", line)
    newest = line.removeprefix("migrated from nothing to ")
    assert (first[0], first[2]) == (0, [])
    assert second == (0, [f"nothing to migrate: the database is at {newest}"], [])
    assert database.stat().st_size > 0


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[NatsServer]:
    with NatsServer(tmp_path / "nats") as broker:
        yield broker


def inventory(tmp_path: Path, **variables: str) -> ServiceProcess:
    """Return a process of inventory on free ports that is not started yet."""
    http, grpc = free_port(), free_port()
    return ServiceProcess(
        service="inventory",
        replica=0,
        package="inventory",
        http_port=http,
        grpc_port=grpc,
        environment={
            "APP_HTTP_PORT": str(http),
            "APP_GRPC_PORT": str(grpc),
            "APP_DATABASE_URL": f"sqlite:///{tmp_path / 'inventory.db'}",
        }
        | variables,
        log=tmp_path / "inventory.log",
        folder=tmp_path,
    )


async def answers(process: ServiceProcess) -> bool:
    async with open_channel(process.grpc_address) as channel:
        stub: InventoryServiceAsyncStub = InventoryServiceStub(channel)
        return (await stub.ListProducts(ListProductsRequest(), timeout=20)).next_cursor == ""


async def test_in_production_a_service_waits_until_its_database_is_migrated(
    tmp_path: Path, broker: NatsServer
) -> None:
    process = inventory(tmp_path, APP_ENVIRONMENT="production", APP_NATS_URL=broker.url)
    process.start()
    try:
        while not any("waiting for the database" in line for line in process.lines()):
            assert process.running
            await asyncio.sleep(0.05)
        assert not await process.is_ready()
        assert any("python -m inventory migrate" in line for line in process.lines())

        url = f"sqlite:///{tmp_path / 'inventory.db'}"
        assert (await asyncio.to_thread(run, "inventory", "migrate", APP_DATABASE_URL=url))[0] == 0

        await process.wait_ready()
        assert await answers(process)
    finally:
        await process.stop()
    assert process.exit_code == 0


async def test_a_ready_service_is_serving_for_grpc_at_once(
    tmp_path: Path, broker: NatsServer
) -> None:
    process = inventory(tmp_path, APP_NATS_URL=broker.url, APP_HEALTH_INTERVAL_SECONDS="60")
    process.start()
    try:
        await process.wait_ready()
        async with open_channel(process.grpc_address) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            answer = await stub.Check(health_pb2.HealthCheckRequest(), timeout=20)
            assert answer.status == health_pb2.HealthCheckResponse.SERVING
    finally:
        await process.stop()


async def test_without_its_telemetry_backend_a_service_starts_works_and_stops(
    tmp_path: Path, broker: NatsServer
) -> None:
    unused = f"http://127.0.0.1:{free_port()}"
    process = inventory(tmp_path, APP_OTLP_ENDPOINT=unused, APP_NATS_URL=broker.url)
    process.start()
    try:
        await process.wait_ready()
        assert await answers(process)
    finally:
        await process.stop()
    assert process.exit_code == 0


@pytest.mark.parametrize("port", ["APP_HTTP_PORT", "APP_GRPC_PORT"])
async def test_a_port_in_use_ends_the_process_and_is_named(
    tmp_path: Path, broker: NatsServer, port: str
) -> None:
    process = inventory(tmp_path, APP_NATS_URL=broker.url, **{port: str(broker.port)})
    process.start()
    try:
        assert await process.wait_ended(60) == 1
    finally:
        await process.stop()
    log = "\n".join(process.lines())
    assert str(broker.port) in log
    assert port in log
    assert "Traceback" not in log
