"""Workloads of the cluster, identified by images and labels, because names and places vary."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

__all__ = ["Workload", "read_workloads", "running"]

_LABELS = ("app", "k8s-app", "app.kubernetes.io/name")


@dataclass(frozen=True)
class Workload:
    """A Deployment, StatefulSet or DaemonSet.

    `known_as` contains its images without registry and tag, and the labels that name it.
    """

    name: str
    namespace: str
    known_as: frozenset[str]
    ready: bool


def read_workloads(listed: Mapping[str, Any]) -> tuple[Workload, ...]:
    """Read the list that `kubectl get deployments,statefulsets,daemonsets -A` answers."""
    return tuple(_workload(item) for item in listed["items"])


def running(workloads: Iterable[Workload], name: str) -> Workload | None:
    """Return a workload that is known by this name, preferably a ready one; None without one."""
    of_it = [workload for workload in workloads if name in workload.known_as]
    return next((each for each in of_it if each.ready), of_it[0] if of_it else None)


def _workload(item: Mapping[str, Any]) -> Workload:
    """Return what the checks need of a Deployment, StatefulSet or DaemonSet."""
    status = item.get("status", {})
    if item["kind"] == "DaemonSet":
        wanted, ready = status.get("desiredNumberScheduled", 0), status.get("numberReady", 0)
    else:
        wanted, ready = item["spec"].get("replicas", 1), status.get("readyReplicas", 0)
    labels = item["metadata"].get("labels", {})
    containers = item["spec"]["template"]["spec"]["containers"]
    return Workload(
        name=item["metadata"]["name"],
        namespace=item["metadata"]["namespace"],
        known_as=frozenset(_image_name(container["image"]) for container in containers)
        | {labels[label] for label in _LABELS if label in labels},
        ready=ready >= wanted > 0,
    )


def _image_name(image: str) -> str:
    return image.split("@")[0].rsplit("/", 1)[-1].split(":")[0]
