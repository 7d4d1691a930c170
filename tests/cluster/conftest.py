"""Fixtures for the tests on the cluster that KUBECONFIG names.

The tests are marked `cluster` and run by `make cluster-test`, one at a time, because a cluster has
one set of nodes. Each test creates a namespace of its own and leaves nothing behind.
"""

import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from uuid import uuid4

import pytest
from cluster_customers import Customers
from cluster_node import Node
from mesh import has_istio

from demo.cluster.shop import ClusterShop, push_shop
from devkit.cluster.namespace import Namespace, PodSecurity, why_unreachable
from devkit.cluster.release import merged
from devkit.cluster.tools import missing
from devkit.errors import DevkitError
from devkit.images.docker import docker
from devkit.workspace import find_workspace

REGISTRY = os.environ.get("REGISTRY", "localhost:5000")

# A developer's node has few processors, which other programs use as well.
_LITTLE = {"resources": {"requests": {"cpu": "25m"}}}


@pytest.fixture(scope="session")
def cluster() -> None:
    """Skip of the tests without a usable cluster, with the reason."""
    if "KUBECONFIG" not in os.environ:
        pytest.skip("KUBECONFIG is not set: these tests would not take just any cluster")
    if lines := missing(("kubectl", "helm")):
        pytest.skip("; ".join(lines))
    if reason := why_unreachable():
        pytest.skip(f"no cluster answers: {reason}")


@pytest.fixture
def make_namespace(cluster: None) -> Iterator[Callable[..., Namespace]]:
    """Factory of namespaces with a Pod Security level, which are deleted after the test."""
    made: list[Namespace] = []

    def make(security: PodSecurity = "restricted", **labels: str) -> Namespace:
        namespace = _new_namespace()
        made.append(namespace)
        namespace.create(security, labels)
        return namespace

    yield make
    for namespace in made:
        namespace.delete()


def _new_namespace() -> Namespace:
    return Namespace(f"{os.environ.get('CLUSTER_TEST_PREFIX', 'test')}-{uuid4().hex[:8]}")


@pytest.fixture
def namespace(make_namespace: Callable[..., Namespace]) -> Namespace:
    """A namespace labelled restricted."""
    return make_namespace()


@pytest.fixture(scope="session")
def tag(cluster: None) -> str:
    """The tag of the images that have been built and pushed to the registry."""
    try:
        docker()
    except DevkitError as error:
        pytest.skip(str(error))
    return push_shop(find_workspace(), REGISTRY)


@pytest.fixture(scope="module")
def node(tag: str) -> Iterator[Node]:
    """The node of the cluster."""
    namespace = _new_namespace()
    namespace.create("privileged")
    try:
        yield Node(namespace, f"{REGISTRY}/slipway-demo:{tag}")
    finally:
        namespace.delete()


@pytest.fixture(scope="module")
def values() -> Mapping[str, Any]:
    """Values with which a module's shop is installed; a module may override them."""
    return {}


@pytest.fixture(scope="module")
def objects() -> Iterable[Mapping[str, Any]]:
    """Objects that are created in the namespace before the shop is installed."""
    return ()


@pytest.fixture(scope="module")
def sidecars() -> bool:
    """Whether the shop of a module is in a mesh."""
    return False


@pytest.fixture(scope="module")
def shop(
    tag: str, values: Mapping[str, Any], objects: Iterable[Mapping[str, Any]], sidecars: bool
) -> Iterator[ClusterShop]:
    """A shop for the tests of a module, each of which leaves it as ready as it was."""
    if sidecars and not has_istio():
        pytest.skip("the cluster has no Istio with the Gateway API")
    shop = ClusterShop(find_workspace(), _new_namespace(), REGISTRY, tag, mesh=sidecars)
    try:
        shop.make_namespace()
        if objects:
            shop.namespace.apply(*objects)
        shop.open_entry()
        names = [service.name for service in shop.platform.services]
        small = dict.fromkeys((*names, "nats", "postgresql"), _LITTLE)
        shop.install(merged(small, values))
        shop.start_pod()
        yield shop
    finally:
        shop.namespace.delete()


@pytest.fixture(scope="module")
def customers(shop: ClusterShop) -> Iterator[Customers]:
    """The customers of that shop."""
    with Customers(shop) as customers:
        yield customers
