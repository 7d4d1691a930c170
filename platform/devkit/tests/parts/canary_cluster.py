"""A namespace as kubectl and helm show it to `slipway canary`, with one release of orders."""

import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import ToolFailed

__all__ = ["FakeNamespace"]

_NO_IMAGE = {"tag": "", "digest": "", "reference": ""}

_ROUTES = {
    "kind": "VirtualService",
    "metadata": {"labels": {"app.kubernetes.io/name": "orders"}},
    "spec": {"http": [{"route": [{"destination": {"subset": "canary"}}]}]},
}


@dataclass(frozen=True)
class FakeNamespace(Namespace):
    """A namespace without a cluster.

    Attributes:
        values: the release's values.
        ready: whether the canary's pods are ready; all of it must hold.
        not_ready: the names of other Deployments whose pods are not ready.
        commands: each change by helm, as the values that it sets, and each deletion.
        before_upgrade: called with the values that an upgrade sets; it may raise ToolFailed.
        revisions: the description of each upgrade, and the values of the release after it.
        leases: the Leases by their names.
        chart_version: the version of the chart by which the release was installed.
        weight_files: the names of the ConfigMaps that the canaries of services with lanes have.
    """

    name: str = "shop"
    values: dict[str, Any] = field(
        default_factory=lambda: {
            "image": {**_NO_IMAGE, "tag": "v1"},
            "canary": {"image": dict(_NO_IMAGE), "weight": 0, "matchAtZero": False},
        }
    )
    ready: list[bool] = field(default_factory=lambda: [True])
    not_ready: list[str] = field(default_factory=list)
    commands: list[Any] = field(default_factory=list)
    before_upgrade: list[Callable[[dict[str, str]], None]] = field(default_factory=list)
    revisions: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    leases: dict[str, Any] = field(default_factory=dict)
    weight_files: list[str] = field(default_factory=list)
    chart_version: str = "0.1.0"

    def __post_init__(self) -> None:
        self.revisions.append(("Install complete", deepcopy(self.values)))

    @classmethod
    def of_umbrella(cls) -> "FakeNamespace":
        """A namespace whose release has the values of orders below its name."""
        return cls(values={"orders": cls().values})

    def runs_canary(self, tag: str, weight: int) -> None:
        """Have a canary already."""
        self.values["canary"] = {"image": {**_NO_IMAGE, "tag": tag}, "weight": weight}

    @property
    def weights(self) -> list[str]:
        """The weights that upgrades have set, in order."""
        name = "canary.weight"
        return [each[name] for each in self.commands if isinstance(each, dict) and name in each]

    def helm(self, *arguments: str, seconds: float = 600, interruptible: bool = True) -> str:
        match arguments[:2]:
            case ("get", "values") if "--revision" in arguments:
                number = int(arguments[arguments.index("--revision") + 1])
                return json.dumps(self.revisions[number - 1][1])
            case ("get", "values"):
                return json.dumps(self.values)
            case ("get", "metadata"):
                return json.dumps({"chart": "service", "version": self.chart_version})
            case ("history", _):
                texts = enumerate((text for text, _ in self.revisions), start=1)
                return json.dumps([{"revision": n, "description": text} for n, text in texts])
            case ("get", "manifest"):
                return json.dumps(_ROUTES)
            case ("upgrade", _):
                self._upgrade([each for each in arguments if each.startswith("--set")])
                described = arguments[arguments.index("--description") + 1]
                self.revisions.append((described, deepcopy(self.values)))
        return ""

    def kubectl(self, *arguments: str, input: str | None = None, seconds: float = 120) -> str:
        if arguments[:1] == ("delete",):
            self.commands.append(arguments)
        if arguments[:1] == ("exec",):
            raise ToolFailed("exec: there is no container")
        if arguments[:1] in (("create",), ("replace",)):
            self._store(json.loads(input or "{}"))
        if arguments[:1] != ("get",):
            return ""
        if arguments[1].startswith("configmap/"):
            raise ToolFailed(f"{arguments[1]} not found")
        if arguments[1].startswith("lease/"):
            found = self.leases.get(arguments[1].removeprefix("lease/"))
            return json.dumps(found) if found else ""
        if arguments[1].startswith("pod/"):
            return json.dumps({"status": {"phase": "Pending"}})
        if arguments[1] == "pods":
            return json.dumps({"items": []})
        if arguments[1] == "deployments":
            return json.dumps({"items": self._deployments()})
        if arguments[1].startswith("deployments,"):
            files = [{"kind": "ConfigMap", "metadata": {"name": n}} for n in self.weight_files]
            return json.dumps({"items": [*self._deployments(), *files]})
        (found,) = [
            each
            for each in self._deployments()
            if f"deployment/{each['metadata']['name']}" == arguments[1]
        ]
        return json.dumps(found)

    def _store(self, given: dict[str, Any]) -> None:
        """Store a Lease, unless it replaces another version than the one that is stored."""
        if given["kind"] != "Lease":
            return
        metadata = given["metadata"]
        version = self.leases.get(metadata["name"], {}).get("metadata", {}).get("resourceVersion")
        if metadata.get("resourceVersion", version) != version:
            raise ToolFailed("the object has been modified")
        metadata["resourceVersion"] = str(int(version or 0) + 1)
        self.leases[metadata["name"]] = given

    def _upgrade(self, options: list[str]) -> None:
        given = dict(each.split("=", 1)[1].split("=", 1) for each in options)
        self.commands.append(given)
        for call in self.before_upgrade:
            call(given)
        for key, value in given.items():
            *path, last = key.split(".")
            place = self.values
            for part in path:
                place = place[part]
            place[last] = json.loads(value) if last in ("weight", "matchAtZero") else value

    def _deployments(self) -> list[dict[str, Any]]:
        ready = "orders" not in self.not_ready
        stable = _deployment("orders", self.values["image"]["tag"], ready=ready)
        tag = self.values["canary"]["image"]["tag"]
        canary = [_deployment("orders-canary", tag, ready=all(self.ready))] if tag else []
        return [stable, *canary]


def _deployment(name: str, tag: str, *, ready: bool) -> dict[str, Any]:
    container = {"name": "app", "image": f"orders:{tag}", "env": []}
    return {
        "kind": "Deployment",
        "metadata": {
            "name": name,
            "uid": name,
            "generation": 1,
            "labels": {
                "app.kubernetes.io/instance": "shop",
                "track": "canary" if name.endswith("-canary") else "stable",
            },
        },
        "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}},
        "status": {
            "observedGeneration": 1,
            "replicas": 1,
            "updatedReplicas": 1,
            "readyReplicas": int(ready),
        },
    }
