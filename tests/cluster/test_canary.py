"""A canary on the cluster takes the share of the events that the release's values say."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pytest
from cluster_customers import Customers
from cluster_gauges import LANES_OF_ORDERS, gauge, until

from demo.cluster.shop import ClusterShop

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

_SERVICE = "orders"


class Canary:
    """The canary of a service in the shop's started."""

    def __init__(self, shop: ClusterShop) -> None:
        self._shop = shop

    def start(self, weight: int) -> None:
        image = {"tag": self._shop.tag}
        self._set({"image": image, "weight": weight, "settings": {"APP_VERSION": "canary"}})

    def set_weight(self, weight: int) -> None:
        self._set({"weight": weight})

    def end(self) -> None:
        self._set({"image": {"tag": ""}, "weight": 0})

    def _set(self, values: Mapping[str, Any]) -> None:
        self._shop.release.upgrade({_SERVICE: {"canary": values}})

    def pods(self) -> list[str]:
        """Return the names of its pods with the number of their restarts."""
        pods = self._shop.namespace.read("pods", f"--selector=app={_SERVICE},track=canary")
        return [
            f"{pod['metadata']['name']} {pod['status']['containerStatuses'][0]['restartCount']}"
            for pod in pods["items"]
        ]


@contextmanager
def canary(shop: ClusterShop, weight: int) -> Iterator[Canary]:
    canary = Canary(shop)
    try:
        canary.start(weight)
        yield canary
    finally:
        canary.end()


def share(shop: ClusterShop, weight: int) -> None:
    """Wait until the canary reads this percentage of the lanes, and the first version the rest."""
    asked = LANES_OF_ORDERS * weight / 100
    until(
        lambda: (
            gauge(shop, _SERVICE, f"{_SERVICE}-canary", "event_lanes_weight") == weight
            and gauge(shop, _SERVICE, f"{_SERVICE}-canary", "event_lanes") == asked
            and gauge(shop, _SERVICE, _SERVICE, "event_lanes") == LANES_OF_ORDERS - asked
        )
    )


def test_the_lanes_of_a_canary_follow_its_weight_without_a_restart(
    shop: ClusterShop, customers: Customers
) -> None:
    with customers.ordering() as seen:
        with canary(shop, weight=0) as started:
            share(shop, 0)
            pods = started.pods()
            for weight in (10, 50, 0):
                started.set_weight(weight)
                began = time.monotonic()
                share(shop, weight)
                print(f"weight {weight}: lanes followed after {time.monotonic() - began:.0f} s")
            assert started.pods() == pods
            started.set_weight(100)
            share(shop, 100)
        until(lambda: gauge(shop, _SERVICE, _SERVICE, "event_lanes") == LANES_OF_ORDERS)

    assert seen.placed > 0
    assert (seen.failed, seen.broken) == ({}, {})
