"""An Ingress whose controller alone is admitted, and which leads to the stable pods only."""

from collections.abc import Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest

from demo.cluster.pod import DemoPod
from demo.cluster.shop import ClusterShop
from devkit.cluster.namespace import Namespace

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

_CONTROLLER = "controller"
# Prints the gateway's version for each request, each over a new connection.
_ASK = """
import json, sys, urllib.request
for _ in range(int(sys.argv[2])):
    try:
        with urllib.request.urlopen(sys.argv[1] + "/openapi.json", timeout=3) as answer:
            print(json.load(answer)["info"]["version"])
    except OSError:
        print("refused")
"""


@pytest.fixture(scope="module")
def edge(cluster: None) -> Iterator[Namespace]:
    """The namespace of the Ingress's controller."""
    namespace = Namespace(f"test-edge-{uuid4().hex[:8]}")
    namespace.create("restricted")
    try:
        yield namespace
    finally:
        namespace.delete()


@pytest.fixture(scope="module")
def values(edge: Namespace) -> Mapping[str, Any]:
    """Values for an Ingress of the gateway."""
    peer = {
        "namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": edge.name}},
        "podSelector": {"matchLabels": {"app": _CONTROLLER}},
    }
    entry = {"entry": {"kind": "ingress"}, "networkPolicy": {"entry": [peer]}}
    return {"gateway": entry}


def _versions(pod: DemoPod, url: str, times: int = 1) -> list[str]:
    command = ("exec", f"pod/{pod.name}", "--", "python", "-c", _ASK, url, str(times))
    return pod.namespace.kubectl(*command).split()


def test_the_api_server_has_an_ingress_of_the_api_and_of_nothing_else(shop: ClusterShop) -> None:
    (gateway,) = (service for service in shop.platform.services if service.name == "gateway")
    (rule,) = shop.namespace.read("ingress", "gateway")["spec"]["rules"]
    paths = [each["path"] for each in rule["http"]["paths"]]
    ports = {each["backend"]["service"]["port"]["name"] for each in rule["http"]["paths"]}

    assert (paths, ports) == (list(gateway.http.paths), {"http"})


def test_only_the_controller_of_the_ingress_is_admitted(shop: ClusterShop, edge: Namespace) -> None:
    pods = [DemoPod(edge, _CONTROLLER), DemoPod(edge, "other"), DemoPod(shop.namespace, "other")]
    for pod in pods:
        pod.start(shop.demo_image)
    gateway = f"http://gateway.{shop.namespace.name}:8080"

    assert [_versions(pod, gateway) for pod in pods] == [[shop.tag], ["refused"], ["refused"]]


def test_without_routes_the_canary_is_reached_by_its_own_service_only(shop: ClusterShop) -> None:
    def change(canary: Mapping[str, Any]) -> None:
        shop.release.upgrade({"gateway": {"canary": canary}})

    change({"image": {"tag": shop.tag}, "settings": {"APP_VERSION": "canary"}, "weight": 50})
    try:
        seen = {
            name: set(_versions(shop.pod, f"http://{name}:8080", times=40))
            for name in ("gateway", "gateway-headless", "gateway-canary")
        }
    finally:
        change({"image": {"tag": ""}, "weight": 0})

    assert seen == {
        "gateway": {shop.tag},
        "gateway-headless": {shop.tag},
        "gateway-canary": {"canary"},
    }
