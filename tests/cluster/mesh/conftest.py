"""Fixtures of one mesh for these tests; each test leaves it usable for the next."""

import os
from collections.abc import Iterator
from uuid import uuid4

import pytest
from mesh import Mesh, has_istio, push_versions

from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import missing


@pytest.fixture(scope="session")
def monitoring(cluster: None) -> Iterator[Namespace]:
    """The namespace whose pods may read metrics, outside the mesh."""
    yield from _namespace("monitoring", {})


@pytest.fixture(scope="session")
def mesh(cluster: None, monitoring: Namespace) -> Iterator[Mesh]:
    """The gateway and inventory with a canary each; the tests are skipped without Istio."""
    if not has_istio():
        pytest.skip("the cluster has no Istio with the Gateway API")
    if lines := missing(("docker",)):
        pytest.skip("; ".join(lines))
    registry = f"{os.environ.get('REGISTRY', 'localhost:5000')}/mesh"
    push_versions(registry)
    for namespace in _namespace("mesh", {"istio-injection": "enabled"}):
        mesh = Mesh(namespace, registry, monitoring.name)
        mesh.install()
        yield mesh


def _namespace(name: str, labels: dict[str, str]) -> Iterator[Namespace]:
    prefix = os.environ.get("CLUSTER_TEST_PREFIX", "test")
    namespace = Namespace(f"{prefix}-{name}-{uuid4().hex[:8]}")
    # Without istio-cni a sidecar's init container changes the pod's network.
    namespace.create("privileged", labels)
    try:
        yield namespace
    finally:
        namespace.delete()
