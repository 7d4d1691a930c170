"""A namespace as kubectl and helm show it to `slipway canary`, with one release of orders."""

import json
from collections.abc import Callable
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
        commands: each change by helm, as the values that it sets, and each deletion.
        before_upgrade: called with the values that an upgrade sets; it may raise ToolFailed.
    """

    name: str = "shop"
    values: dict[str, Any] = field(
        default_factory=lambda: {
            "image": {**_NO_IMAGE, "tag": "v1"},
            "canary": {"image": dict(_NO_IMAGE), "weight": 0},
        }
    )
    ready: list[bool] = field(default_factory=lambda: [True])
    commands: list[Any] = field(default_factory=list)
    before_upgrade: list[Callable[[dict[str, str]], None]] = field(default_factory=list)

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
            case ("get", "values"):
                return json.dumps(self.values)
            case ("get", "manifest"):
                return json.dumps(_ROUTES)
            case ("upgrade", _):
                self._upgrade([each for each in arguments if each.startswith("--set")])
        return ""

    def kubectl(self, *arguments: str, input: str | None = None, seconds: float = 120) -> str:
        if arguments[:1] == ("delete",):
            self.commands.append(arguments)
        if arguments[:1] == ("exec",):
            raise ToolFailed("exec: there is no container")
        if arguments[:1] != ("get",):
            return ""
        if arguments[1].startswith("configmap/"):
            raise ToolFailed(f"{arguments[1]} not found")
        if arguments[1].startswith("pod/"):
            return json.dumps({"status": {"phase": "Pending"}})
        if arguments[1] == "pods":
            return json.dumps({"items": []})
        if arguments[1].startswith("deployments,"):
            return json.dumps({"items": self._deployments()})
        (found,) = [
            each
            for each in self._deployments()
            if f"deployment/{each['metadata']['name']}" == arguments[1]
        ]
        return json.dumps(found)

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
            place[last] = int(value) if last == "weight" else value

    def _deployments(self) -> list[dict[str, Any]]:
        stable = _deployment("orders", self.values["image"]["tag"], ready=True)
        tag = self.values["canary"]["image"]["tag"]
        canary = [_deployment("orders-canary", tag, ready=all(self.ready))] if tag else []
        return [stable, *canary]


def _deployment(name: str, tag: str, *, ready: bool) -> dict[str, Any]:
    container = {"name": "app", "image": f"orders:{tag}", "env": []}
    return {
        "kind": "Deployment",
        "metadata": {"name": name, "uid": name, "generation": 1},
        "spec": {"replicas": 1, "template": {"spec": {"containers": [container]}}},
        "status": {
            "observedGeneration": 1,
            "replicas": 1,
            "updatedReplicas": 1,
            "readyReplicas": int(ready),
        },
    }
