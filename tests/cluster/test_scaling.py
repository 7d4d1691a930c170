"""A service is scaled by its CPU while customers order: every law holds afterwards."""

import json
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from cluster_customers import Customers

from demo.cluster.shop import ClusterShop

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

_SECONDS = 240.0
_FIXED = 2


@pytest.fixture(scope="module")
def values() -> Mapping[str, Any]:
    """Values with which inventory is scaled up and down quickly."""
    scaling = {
        "kind": "hpa",
        "minReplicas": 1,
        "maxReplicas": 3,
        "cpuPercent": 60,
        "scaleDownSeconds": 15,
    }
    # The service uses about 20m without orders, and about 100m at 40 orders a second.
    requests = {"requests": {"cpu": "100m"}}
    return {
        "inventory": {"autoscaling": scaling, "resources": requests},
        "payments": {"replicas": _FIXED},
    }


def test_inventory_is_scaled_up_under_load_and_back(
    shop: ClusterShop, customers: Customers
) -> None:
    def replicas() -> int:
        status = shop.namespace.read("deployment", "inventory")["status"]
        return int(status.get("readyReplicas", 0))

    with customers.ordering(per_second=40) as busy:
        _until(lambda: replicas() > 1)
    with customers.ordering(per_second=1, first=1) as calm:
        _until(lambda: replicas() == 1)

    assert (busy.broken, calm.broken) == ({}, {})
    assert (busy.failed, calm.failed) == ({}, {})


def test_a_scaler_takes_over_and_is_taken_off_without_a_moment_of_fewer_replicas(
    shop: ClusterShop, customers: Customers
) -> None:
    scaler = {"kind": "hpa", "minReplicas": _FIXED + 1, "maxReplicas": _FIXED + 1}
    with customers.ordering() as seen, _replicas_of(shop, "payments") as counts:
        _own_replicas(shop, "payments", _FIXED)
        shop.release.upgrade({"payments": {"autoscaling": scaler}})
        _until(lambda: counts[-1] == _FIXED + 1)
        shop.namespace.wait_rolled_out(["payments"])
        # Helm refuses to change the scaler's value without --force-conflicts.
        fixed = ("--set=payments.autoscaling.kind=none", f"--set=payments.replicas={_FIXED}")
        options = ("--reset-then-reuse-values", "--force-conflicts", "--wait", *fixed)
        shop.namespace.helm("upgrade", shop.release.name, str(shop.release.chart), *options)
        _until(lambda: counts[-1] == _FIXED)

    assert min(counts) == _FIXED
    assert (seen.failed, seen.broken) == ({}, {})


def _own_replicas(shop: ClusterShop, deployment: str, replicas: int) -> None:
    """Make a second owner of the field, the documented step before the upgrade."""
    thing = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": deployment},
        "spec": {"replicas": replicas},
    }
    apply = ("apply", "--server-side", "--field-manager=scaling", "--filename=-")
    shop.namespace.kubectl(*apply, input=json.dumps(thing))


@contextmanager
def _replicas_of(shop: ClusterShop, deployment: str) -> Iterator[list[int]]:
    """Watch the Deployment's number of replicas; the list grows with each change."""
    namespace = ("--namespace", shop.namespace.name)
    watch = (
        "get",
        "deployment",
        deployment,
        "--watch",
        "--output=jsonpath={.spec.replicas}{'\\n'}",
    )
    counts: list[int] = []
    command = ("kubectl", *namespace, *watch)
    with subprocess.Popen(command, stdout=subprocess.PIPE, encoding="utf-8") as process:
        output = process.stdout
        assert output is not None
        reader = threading.Thread(target=lambda: counts.extend(map(int, output)))
        reader.start()
        try:
            _until(lambda: bool(counts))
            yield counts
        finally:
            process.terminate()
            reader.join()


def _until(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.5)
