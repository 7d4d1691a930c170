"""Gauges of the shop's pods, and waiting until they say something."""

import time
from collections.abc import Callable

from demo.cluster.shop import ClusterShop

__all__ = ["LANES_OF_ORDERS", "gauge", "until"]

LANES_OF_ORDERS = 40
"""The lanes that orders reads: 20 of each of the streams of inventory and payments."""

# The kubelet refreshes mounted files within its sync period (1 minute) plus its cache time.
_SECONDS = 240.0
_READ_GAUGE = """
import sys, urllib.request
with urllib.request.urlopen("http://127.0.0.1:" + sys.argv[1] + "/metrics", timeout=20) as answer:
    for line in answer.read().decode().splitlines():
        if line.startswith(sys.argv[2] + " "):
            print(line.split()[1])
"""


def gauge(shop: ClusterShop, service: str, deployment: str, name: str) -> float | None:
    """Return a gauge of a pod of a service's Deployment; None if it has no sample."""
    (port,) = (s.http.port for s in shop.platform.services if s.name == service)
    command = ("exec", f"deploy/{deployment}", "--container=app", "--", "python", "-c")
    printed = shop.namespace.kubectl(*command, _READ_GAUGE, str(port), name)
    return float(printed) if printed.strip() else None


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds, for longer than the kubelet needs to refresh a file."""
    ends_at = time.monotonic() + _SECONDS
    while not condition():
        assert time.monotonic() < ends_at
        time.sleep(1)
