"""A broker that knows each service's key loses its volume: the release's key makes its streams."""

import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import pytest
import yaml
from cluster_customers import Customers

from demo.cluster.shop import ClusterShop
from devkit.cluster.release import merged
from devkit.cluster.tools import run
from devkit.workspace import find_workspace

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

_SECONDS = 180.0
_READY = """
import urllib.request
print(urllib.request.urlopen("http://127.0.0.1:8081/readyz", timeout=5).read().decode())
"""


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The Secrets with the keys, and the broker's permissions of each."""
    folder = str(tmp_path_factory.mktemp("keys"))
    secrets = run("slipway", "broker", "keys", "--out", folder, "--kubernetes")
    return secrets, run("slipway", "broker", "permissions", "--keys", folder)


@pytest.fixture(scope="module")
def objects(keys: tuple[str, str]) -> Iterable[Mapping[str, Any]]:
    return [each for each in yaml.safe_load_all(keys[0]) if each]


@pytest.fixture(scope="module")
def values(keys: tuple[str, str]) -> Mapping[str, Any]:
    """The values for keys, as in docs/deploying.md."""
    file = find_workspace().root / "deploy/helm/slipway/values-keys.yaml"
    in_force = yaml.safe_load(file.read_text(encoding="utf-8"))
    return merged(in_force, {"nats": {"permissions": keys[1]}})


def _reported(shop: ClusterShop) -> str:
    """Return the readiness report of orders."""
    command = ("exec", "deployment/orders", "--container=app", "--", "python", "-c", _READY)
    return shop.namespace.kubectl(*command)


def _until(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(1)


def _lacks_its_stream(shop: ClusterShop) -> bool:
    return "stream 'orders' is missing" in _reported(shop)


def _publishes(shop: ClusterShop) -> bool:
    return '"status":"ready"' in _reported(shop)


def _lose_the_volume(shop: ClusterShop) -> None:
    """The volume ends with the pod."""
    shop.namespace.kubectl("delete", "pod", "nats-0")
    status = ("rollout", "status", "statefulset/nats", f"--timeout={_SECONDS:g}s")
    shop.namespace.kubectl(*status, seconds=_SECONDS + 10)


def test_services_wait_until_an_upgrade_that_changes_nothing_has_made_the_streams(
    shop: ClusterShop, customers: Customers
) -> None:
    _until(lambda: _publishes(shop))
    with customers.ordering() as seen:
        _lose_the_volume(shop)
        _until(lambda: _lacks_its_stream(shop))
        shop.release.upgrade({})
        _until(lambda: _publishes(shop))

    assert seen.broken == {}


def test_a_schedule_makes_the_streams_automatically(
    shop: ClusterShop, customers: Customers
) -> None:
    shop.release.upgrade({"global": {"nats": {"streamsSchedule": "* * * * *"}}})
    with customers.ordering() as seen:
        _lose_the_volume(shop)
        _until(lambda: _lacks_its_stream(shop))
        _until(lambda: _publishes(shop))

    assert seen.broken == {}
