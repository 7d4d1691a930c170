"""The namespaces that tests and the demo create on a cluster."""

import pytest

from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import ToolFailed

pytestmark = pytest.mark.cluster


def test_a_restricted_namespace_refuses_a_pod_that_may_be_root(namespace: Namespace) -> None:
    container = {"name": "any", "image": "any"}
    metadata = {"name": "any"}
    pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}

    with pytest.raises(ToolFailed, match="violates PodSecurity"):
        namespace.apply({**pod, "spec": {"containers": [container]}})
