"""NetworkPolicies: a pod reaches the services that admit it, and no other."""

from collections.abc import Iterator

import pytest

from demo.cluster.pod import DemoPod
from demo.cluster.shop import ClusterShop

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

_CONNECT = """
import socket, sys
try:
    socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=3)
    print("reached")
except (TimeoutError, ConnectionRefusedError):
    print("refused")
"""


@pytest.fixture(scope="module")
def stranger(shop: ClusterShop) -> DemoPod:
    """A pod like the demo's that no service admits."""
    pod = DemoPod(shop.namespace, "stranger")
    pod.start(shop.demo_image)
    return pod


def _surfaces(shop: ClusterShop) -> Iterator[tuple[str, int]]:
    for service in shop.platform.services:
        yield f"{service.name}-headless", service.http.port
        if service.grpc is not None:
            yield f"{service.name}-headless", service.grpc.port


def _reaches(shop: ClusterShop, pod: DemoPod, host: str, port: int) -> bool:
    command = ("exec", f"pod/{pod.name}", "--", "python", "-c", _CONNECT, host, str(port))
    return shop.namespace.kubectl(*command).strip() == "reached"


def test_a_pod_reaches_the_services_that_admit_it(shop: ClusterShop) -> None:
    reached = [place for place in _surfaces(shop) if _reaches(shop, shop.pod, *place)]

    assert reached == list(_surfaces(shop))


def test_a_pod_that_no_service_admits_reaches_none(shop: ClusterShop, stranger: DemoPod) -> None:
    places = [*_surfaces(shop), ("nats", 4222), ("postgresql", 5432)]

    assert [place for place in places if _reaches(shop, stranger, *place)] == []
