"""Two versions replay the shop's events in a pod of their own while the shop works."""

import os
import subprocess
import sys
import threading
import time

import pytest
from cluster_customers import Customers

from demo.cluster.shop import ClusterShop

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

_ORDERS = 60
_SECONDS = 600


class _Endpoints:
    """Names of the pods that any Service of the shop sends requests to, read again and again."""

    def __init__(self, shop: ClusterShop) -> None:
        self._shop = shop
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._read, name="endpoints", daemon=True)
        self.ready: set[str] = set()

    def __enter__(self) -> "_Endpoints":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._ended.wait(1):
            for each in self._shop.namespace.read("endpointslices")["items"]:
                for endpoint in each.get("endpoints") or ():
                    if endpoint["conditions"].get("ready"):
                        self.ready.add(endpoint.get("targetRef", {}).get("name", ""))


@pytest.mark.parametrize("service", ["payments", "orders"])
def test_a_shadow_of_the_same_image_shows_no_difference_and_serves_nothing(
    shop: ClusterShop, customers: Customers, service: str
) -> None:
    with customers.ordering() as seen:
        before = customers.look()
        while customers.look() < before + _ORDERS:
            time.sleep(1)
        with _Endpoints(shop) as endpoints:
            command = [sys.executable, "-m", "devkit", "canary", "shadow", service]
            done = subprocess.run(
                [*command, "--tag", shop.tag, "--namespace", shop.namespace.name],
                env=os.environ,
                capture_output=True,
                encoding="utf-8",
                timeout=_SECONDS,
            )

    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.splitlines()[-1].startswith("no difference: "), done.stdout
    assert not [pod for pod in endpoints.ready if "shadow" in pod]
    pods = shop.namespace.read("pods")["items"]
    left = [pod for pod in pods if "shadow" in pod["metadata"]["name"]]
    assert all("deletionTimestamp" in pod["metadata"] for pod in left)
    assert (seen.failed, seen.broken) == ({}, {})
