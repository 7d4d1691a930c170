"""For the tests on a cluster: whichever KUBECONFIG names, or a reason to skip.

They are marked `cluster` and run by `make cluster-test`, one at a time: a cluster has one set of
nodes. Each makes a namespace of its own and leaves nothing behind.
"""

import os
from collections.abc import Callable, Iterator
from uuid import uuid4

import pytest

from devkit.cluster.namespace import Namespace, PodSecurity, why_unreachable
from devkit.cluster.tools import missing


@pytest.fixture(scope="session")
def cluster() -> None:
    """Skips the test that asks for it where no cluster can be had, and says why."""
    if "KUBECONFIG" not in os.environ:
        pytest.skip("KUBECONFIG is not set: these tests would not take just any cluster")
    if lines := missing(("kubectl", "helm")):
        pytest.skip("; ".join(lines))
    if reason := why_unreachable():
        pytest.skip(f"no cluster answers: {reason}")


@pytest.fixture
def make_namespace(cluster: None) -> Iterator[Callable[..., Namespace]]:
    """Makes namespaces with a Pod Security level; they are removed when the test has ended."""
    made: list[Namespace] = []
    prefix = os.environ.get("CLUSTER_TEST_PREFIX", "test")

    def make(security: PodSecurity = "restricted", **labels: str) -> Namespace:
        namespace = Namespace(f"{prefix}-{uuid4().hex[:8]}")
        made.append(namespace)
        namespace.create(security, labels)
        return namespace

    yield make
    for namespace in made:
        namespace.delete()


@pytest.fixture
def namespace(make_namespace: Callable[..., Namespace]) -> Namespace:
    """A namespace labelled restricted."""
    return make_namespace()
