"""Pods are killed and drained, and lose their volumes, while customers order: every law holds."""

import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from cluster_customers import Customers
from cluster_node import Node
from cluster_volumes import volumes_of_a_class

from demo.cluster.shop import ClusterShop
from devkit.cluster.tools import run

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

_SECONDS = 120.0
_LABEL = "drained-with"


@pytest.fixture(scope="module")
def values(node: Node) -> Iterator[Mapping[str, Any]]:
    """Two replicas of each service, and a disk for PostgreSQL that outlives its pod."""
    with volumes_of_a_class(node, 1) as name:
        storage = {"storage": {"enabled": True, "storageClass": name}}
        # The drain evicts only pods with this label.
        everywhere = {"replicas": 2, "podLabels": {_LABEL: name}}
        yield {"global": everywhere, "postgresql": storage}


def _until(condition: Callable[[], bool], what: str) -> None:
    ends_at = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < ends_at, f"in {_SECONDS:g} s it did not come that {what}"
        time.sleep(0.2)


def _restarts(shop: ClusterShop, pod: str) -> int:
    found = shop.namespace.read("pod", pod)["status"].get("containerStatuses", ())
    return sum(int(container["restartCount"]) for container in found)


def _is_ready(shop: ClusterShop, app: str, pods: int) -> bool:
    found = [pod for pod in shop.namespace.pods(f"app={app}") if not pod.leaving]
    return len(found) == pods and all(pod.ready for pod in found)


@pytest.mark.parametrize(
    "app",
    ["gateway", "orders", "inventory", "payments", "notifications", "nats", "postgresql"],
)
def test_a_pod_may_be_killed(shop: ClusterShop, customers: Customers, node: Node, app: str) -> None:
    pods = shop.namespace.pods(f"app={app}")
    pod = pods[0].name
    before = _restarts(shop, pod)
    with customers.ordering() as seen:
        node.kill(pod)
        _until(lambda: _restarts(shop, pod) > before, f"{pod} is started again")
        _until(lambda: _is_ready(shop, app, len(pods)), f"{app} is ready again")

    assert seen.broken == {}


def test_a_drain_waits_for_the_disruption_budget_and_fails_no_request(
    shop: ClusterShop, customers: Customers, values: Mapping[str, Any]
) -> None:
    services = [service.name for service in shop.platform.services]
    node = shop.namespace.read("pods", "--selector", "track=stable")["items"][0]["spec"]["nodeName"]
    before = {pod.name for pod in shop.namespace.pods("track=stable")}
    selector = f"{_LABEL}={values['global']['podLabels'][_LABEL]}"
    drain = ("kubectl", "drain", node, "--pod-selector", selector, "--delete-emptydir-data")
    with customers.ordering() as seen:
        try:
            process = subprocess.Popen(
                drain, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8"
            )
            assert process.stdout is not None
            # Evicted pods find no other node, so the budget keeps the last pod of each service.
            refused = next((line for line in process.stdout if "disruption budget" in line), "")
            kept = {pod.app for pod in shop.namespace.pods("track=stable") if pod.ready}
        finally:
            run("kubectl", "uncordon", node)
        said, _ = process.communicate(timeout=_SECONDS * 2)
        for name in services:
            _until(lambda name=name: _is_ready(shop, name, 2), f"{name} is ready")  # type: ignore[misc]

    assert "disruption budget" in refused
    assert kept == set(services)
    assert process.returncode == 0, said
    assert before.isdisjoint(pod.name for pod in shop.namespace.pods("track=stable"))
    assert (seen.failed, seen.broken) == ({}, {})


def test_the_broker_may_lose_its_volume(shop: ClusterShop, customers: Customers) -> None:
    with customers.ordering() as seen:
        # The broker's volume ends with the pod.
        shop.namespace.kubectl("delete", "pod", "nats-0")
        _until(lambda: _is_ready(shop, "nats", 1), "the broker is ready again")

    assert seen.broken == {}


def test_the_database_may_be_restarted(shop: ClusterShop, customers: Customers) -> None:
    with customers.ordering() as seen:
        shop.namespace.kubectl("delete", "pod", "postgresql-0")
        _until(lambda: _is_ready(shop, "postgresql", 1), "the database is ready again")

    assert seen.broken == {}
