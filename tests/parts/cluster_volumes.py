"""Volumes on the node's disk that the chart's servers, which are not root, may write to.

They are of the type `local`: kubelet gives their files to the group of the pod (fsGroup), which it
does not for `hostPath`.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import uuid4

from cluster_node import Node

from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import run

__all__ = ["volumes_for_the_platform", "volumes_of_a_class"]

_CLAIMS = ("data-nats-0", "data-postgresql-0")
_DEFAULT = "storageclass.kubernetes.io/is-default-class"
# Volumes belong to no namespace, so that any name serves.
_ANY = Namespace("default")


@contextmanager
def volumes_of_a_class(node: Node, number: int) -> Iterator[str]:
    """Make `number` volumes of a new storage class, and yield its name; delete them at the end."""
    name = f"slipway-{uuid4().hex[:8]}"
    with _volumes(node, {f"{name}-{each}": {"storageClassName": name} for each in range(number)}):
        yield name


@contextmanager
def volumes_for_the_platform(node: Node, namespace: Namespace) -> Iterator[None]:
    """Volumes of the cluster's default class for the claims of broker and database there.

    They are for these claims alone, and the class makes no others for them.
    """
    default = _default_class()
    specs = {
        f"{namespace.name}-{claim}": {
            "storageClassName": default,
            "claimRef": {"namespace": namespace.name, "name": claim},
        }
        for claim in _CLAIMS
    }
    with _volumes(node, specs):
        yield


def _default_class() -> str:
    """The class of a claim that names none; empty if the cluster has none."""
    for each in _ANY.read("storageclasses")["items"]:
        if each["metadata"].get("annotations", {}).get(_DEFAULT) == "true":
            return str(each["metadata"]["name"])
    return ""


@contextmanager
def _volumes(node: Node, specs: dict[str, dict[str, Any]]) -> Iterator[None]:
    folder = f"/var/tmp/slipway-{uuid4().hex[:8]}"
    here = {"key": "kubernetes.io/hostname", "operator": "In", "values": [node.hostname]}
    common = {
        "capacity": {"storage": "2Gi"},
        "accessModes": ["ReadWriteOnce"],
        "persistentVolumeReclaimPolicy": "Retain",
        "nodeAffinity": {"required": {"nodeSelectorTerms": [{"matchExpressions": [here]}]}},
    }
    kind = {"apiVersion": "v1", "kind": "PersistentVolume"}
    try:
        for name, spec in specs.items():
            node.make_folder(f"{folder}/{name}")
            local = {"local": {"path": f"{folder}/{name}"}}
            _ANY.apply({**kind, "metadata": {"name": name}, "spec": {**common, **spec, **local}})
        yield
    finally:
        run("kubectl", "delete", "persistentvolume", *specs, "--ignore-not-found", "--wait=false")
        node.remove_folder(folder)
