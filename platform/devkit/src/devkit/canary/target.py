"""The helm release that runs a service in a namespace."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from devkit.cluster.namespace import Namespace
from devkit.cluster.release import chart_of
from devkit.cluster.tools import ToolFailed, run
from devkit.errors import DevkitError, WrongUsage

__all__ = ["Target", "current_namespace", "find_target"]

_PLATFORM = "app.kubernetes.io/part-of=slipway"
_RELEASE = "app.kubernetes.io/instance"
_UMBRELLA = "slipway"


@dataclass(frozen=True)
class Target:
    """A service in a namespace, the helm release that it belongs to, and the chart of the clone.

    `below` is the key of the release's values below which those of the service are: its name in the
    umbrella chart, and empty in a release of its own. `installed` is the version of the chart by
    which the release was installed.
    """

    namespace: Namespace
    service: str
    release: str
    chart: Path
    below: str
    installed: str = ""

    @property
    def canary(self) -> str:
        """The name of the canary's Deployment, and of the ConfigMap with its weight."""
        return f"{self.service}-canary"

    def key(self, name: str) -> str:
        """Return the full key of a value of the service, for example `orders.canary.weight`."""
        return f"{self.below}.{name}" if self.below else name

    def change_of_chart(self) -> str:
        """Return what else an upgrade by the clone's chart changes; empty if it is the release's.

        Helm keeps no chart from which the release could be upgraded instead.
        """
        own = yaml.safe_load((self.chart / "Chart.yaml").read_text(encoding="utf-8"))
        if own["version"] == self.installed:
            return ""
        return (
            f"{self.release} was installed by the chart {own['name']} {self.installed}, and this"
            f" clone has {own['version']}: a change upgrades the other objects of the release, too"
        )

    def values(self, revision: int | None = None) -> Mapping[str, Any]:
        """Return the values that the service was given: its own, over those below `global`.

        They are those of the release as it is, or of an earlier revision. Raises ToolFailed.
        """
        asked = ("--revision", str(revision)) if revision else ()
        every = ("get", "values", self.release, "--all", "--output=json")
        given = json.loads(self.namespace.helm(*every, *asked)) or {}
        own = given.get(self.below) or {} if self.below else given
        return {**own, "image": {**_image(given.get("global") or {}), **_image(own)}}


def find_target(root: Path, namespace: Namespace, service: str, release: str = "") -> Target:
    """Return the release that runs a service; `root` is the folder of the clone with the charts.

    Raises:
        WrongUsage: the namespace does not have the service, or not by this release.
        DevkitError: the service was not installed by helm.
        ToolFailed: the cluster refused to answer.
    """
    found = namespace.read("deployments", "--selector", _PLATFORM)["items"]
    labels = {
        item["metadata"]["name"]: item["metadata"]["labels"]
        for item in found
        if item["metadata"]["labels"].get("track") == "stable"
    }
    if service not in labels:
        there = ", ".join(sorted(labels)) or "none"
        raise WrongUsage(
            f"there is no service {service} in namespace {namespace.name}; there are: {there}."
            " Give another one by --namespace."
        )
    installed_as = labels[service][_RELEASE]
    if release and release != installed_as:
        raise WrongUsage(f"{service} belongs to the release {installed_as}, and not to {release}")
    try:
        metadata = json.loads(
            namespace.helm("get", "metadata", installed_as, "--output=json", seconds=60)
        )
    except ToolFailed as error:
        raise DevkitError(
            f"{service} in namespace {namespace.name} was not installed by helm. If it is deployed"
            f" from a repository, edit its values: `slipway canary … --write FILE`.\n{error}"
        ) from error
    umbrella = metadata["chart"] == _UMBRELLA
    chart = chart_of(root) if umbrella else root / "deploy" / "helm" / "service"
    below, version = service if umbrella else "", str(metadata["version"])
    return Target(namespace, service, installed_as, chart, below, version)


def current_namespace() -> str:
    """Return the namespace of kubectl's current context. Raises ToolFailed."""
    shown = run("kubectl", "config", "view", "--minify", "--output=json", seconds=15)
    contexts = json.loads(shown).get("contexts") or [{}]
    return str(contexts[0].get("context", {}).get("namespace") or "default")


def _image(values: Mapping[str, Any]) -> dict[str, Any]:
    return dict(values.get("image") or {})
