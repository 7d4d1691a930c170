"""A service is scaled by its use of the CPU while customers order: every law holds after it."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import pytest
from cluster_customers import Customers

from demo.cluster.shop import ClusterShop

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

_SECONDS = 240.0


@pytest.fixture(scope="module")
def values() -> Mapping[str, Any]:
    """Inventory is given more replicas soon, and they are taken away soon."""
    scaling = {
        "kind": "hpa",
        "minReplicas": 1,
        "maxReplicas": 3,
        "cpuPercent": 60,
        "scaleDownSeconds": 15,
    }
    # Some 20m without any orders, some 100m at 40 a second.
    requests = {"requests": {"cpu": "100m"}}
    return {"inventory": {"autoscaling": scaling, "resources": requests}}


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


def _until(condition: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(0.5)
