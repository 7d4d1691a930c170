"""A running platform: its addresses, and a replay on it."""

import asyncio
import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from forked_python import run_module

from demo.remote_platform import find_platform
from devkit.errors import DevkitError
from devkit.platform import Platform, PlatformOptions

# Starting a whole platform takes long on a busy machine.
pytestmark = [pytest.mark.xdist_group("restarts"), pytest.mark.timeout(300)]

LAWS = 8
AT = (
    "gateway=http://shop.example/",
    "orders=orders:9081",
    "inventory=inventory:9082",
    "payments=payments:9083",
    "notifications=[::1]:9084",
)


class Names:
    """A fake of the resolver with the given host names."""

    def __init__(self, **addresses: tuple[str, ...]) -> None:
        self._addresses = addresses

    def getaddrinfo(self, host: str, port: None, type: int) -> list[tuple[object, ...]]:
        if host not in self._addresses:
            raise socket.gaierror(f"{host} is not known")
        return [
            (socket.AF_INET6 if ":" in address else socket.AF_INET, type, 6, "", (address, 0))
            for address in self._addresses[host]
        ]


def test_every_address_of_a_host_name_is_a_replica_with_that_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    names = Names(orders=("10.0.0.1", "10.0.0.2", "fd00::1"))
    monkeypatch.setattr(socket, "getaddrinfo", names.getaddrinfo)
    platform = find_platform([*AT, "orders=http://orders:8081"])
    assert platform.gateways == ("http://shop.example",)
    assert [
        (replica.grpc_address, replica.authority, replica.http_url, replica.http_host)
        for replica in platform.of("orders")
    ] == [
        ("10.0.0.1:9081", "orders:9081", "http://10.0.0.1:8081", "orders:8081"),
        ("10.0.0.2:9081", "orders:9081", "http://10.0.0.2:8081", "orders:8081"),
    ]
    assert platform.of("inventory") == []


def test_metrics_are_read_from_another_host() -> None:
    platform = find_platform([*AT, "notifications=https://metrics.example:9464"])
    (replica,) = platform.of("notifications")
    assert (replica.grpc_address, replica.http_url) == (
        "[::1]:9084",
        "https://metrics.example:9464",
    )


@pytest.mark.parametrize(
    ("at", "error"),
    [
        ((), "missing for gateway, orders, inventory, payments, notifications"),
        (AT[1:], "missing for gateway;"),
        (AT[:-1], "missing for notifications;"),
        ((*AT, "orders"), "--at orders is not a valid address"),
        ((*AT, "orders=orders"), "--at orders=orders is not a valid address"),
        ((*AT, "gateway=gateway:8080"), "--at gateway=gateway:8080 is not a valid address"),
        ((*AT, "orders=http://a", "orders=http://b"), "1 gRPC addresses of orders and 2 URLs"),
    ],
)
def test_invalid_addresses_are_refused(at: tuple[str, ...], error: str) -> None:
    with pytest.raises(DevkitError, match=error):
        find_platform(at)


def test_it_imports_nothing_that_runs_a_platform() -> None:
    """The demo must run in a small container without these packages."""
    code = (
        "import sys, demo.__main__, demo.run_remote, demo.remote_platform\n"
        "print([name for name in ('chassis', 'devkit.platform', 'psutil', 'sqlalchemy')"
        " if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, encoding="utf-8", check=True
    )
    assert done.stdout.strip() == "[]"


async def demo(*arguments: str) -> tuple[int, str]:
    done = await asyncio.to_thread(run_module, "demo", *arguments, environment=os.environ)
    return done.returncode, done.stdout + done.stderr


@pytest.mark.long
async def test_the_laws_hold_for_what_each_of_several_replays_adds(tmp_path: Path) -> None:
    """With and without the addresses of the services' metrics."""
    report = tmp_path / "report.json"
    async with Platform(PlatformOptions(tmp_path / "platform", free_ports=True)) as platform:
        await platform.wait_ready()
        services = [process for process in platform.processes if process.service != "gateway"]
        at = [f"--at=gateway={platform.url('gateway')}"]
        at += [f"--at={process.service}={process.grpc_address}" for process in services]
        metrics = [f"--at={process.service}={process.http_url}" for process in services]
        for run, with_metrics in enumerate((True, False, True)):
            addresses = at + metrics if with_metrics else at
            code, output = await demo("--baskets", "10", "--json", str(report), *addresses)
            assert code == 0, output
            assert output.count("✓") == LAWS + (run > 0)
            assert (f"has {run * 10} orders already" in output) is (run > 0)
            content = json.loads(report.read_text(encoding="utf-8"))
            assert content["summary"]["placed"] == 10
            counts = content["summary"]["events"].get("shop.orders.v1.OrderPlaced", {})
            assert counts.get("handled") == (10 if with_metrics else None)


def test_options_of_a_new_platform_are_refused_with_at() -> None:
    command = [sys.executable, "-m", "demo", "--at", "gateway=http://localhost", "--keep"]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", timeout=120)
    assert (done.returncode, "cannot be used with --at" in done.stderr) == (64, True)
