"""A namespace of the cluster, and what is asked of kubectl and helm in it."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from devkit.cluster.tools import ToolFailed, run
from devkit.errors import DevkitError

__all__ = ["Namespace", "Pod", "PodSecurity", "check_cluster", "why_unreachable"]

PodSecurity = Literal["restricted", "baseline", "privileged"]
"""The levels of the Pod Security Standards."""


@dataclass(frozen=True)
class Pod:
    """A pod as the API server knows it."""

    name: str
    app: str
    address: str
    """Empty as long as it has none."""
    ready: bool
    leaving: bool


def why_unreachable() -> str | None:
    """Why no cluster can be worked with; None if one answers."""
    try:
        run("kubectl", "version", "--request-timeout=5s", "--output=json", seconds=15)
    except DevkitError as error:
        return str(error).splitlines()[-1]
    return None


def check_cluster() -> None:
    """Raises DevkitError if no cluster answers."""
    if reason := why_unreachable():
        raise DevkitError(
            f"no cluster answers: {reason}\n"
            "Start one (kind create cluster, minikube start, k3d cluster create) or set KUBECONFIG."
        )


@dataclass(frozen=True)
class Namespace:
    """One namespace, by name; it need not exist yet."""

    name: str

    def kubectl(self, *arguments: str, input: str | None = None, seconds: float = 120) -> str:
        """Run kubectl in this namespace. Raises ToolFailed."""
        return run("kubectl", "--namespace", self.name, *arguments, input=input, seconds=seconds)

    def helm(self, *arguments: str, seconds: float = 600) -> str:
        """Run helm in this namespace. Raises ToolFailed."""
        return run("helm", "--namespace", self.name, *arguments, seconds=seconds)

    def create(self, security: PodSecurity, labels: Mapping[str, str] | None = None) -> None:
        """Make it, with what its pods must keep to. Raises ToolFailed if it exists."""
        name = "pod-security.kubernetes.io"
        metadata = {
            "name": self.name,
            "labels": {
                f"{name}/enforce": security,
                f"{name}/warn": "restricted",
                **(labels or {}),
            },
        }
        self.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": metadata}, create=True)

    def delete(self, *, wait: bool = False) -> None:
        """Remove it with all it holds. Nothing happens if there is none."""
        run(
            "kubectl",
            *("delete", "namespace", self.name, "--ignore-not-found", f"--wait={wait}".lower()),
            seconds=300,
        )

    def apply(self, *objects: Mapping[str, Any], create: bool = False) -> None:
        """Bring these objects to the cluster. Raises ToolFailed."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        # kubectl would ask for every schema of the cluster first, however simple the object is.
        verb = ("create", "--validate=false") if create else ("apply", "--server-side")
        self.kubectl(*verb, "--filename", "-", input=json.dumps(items))

    def read(self, *what: str) -> Any:
        """What `kubectl get` answers, as JSON. Raises ToolFailed."""
        return json.loads(self.kubectl("get", *what, "--output=json"))

    def pods(self, selector: str = "") -> list[Pod]:
        """The pods that match a label selector, or all."""
        return [_pod(item) for item in self.read("pods", "--selector", selector)["items"]]

    def wait_rolled_out(self, deployments: Iterable[str], seconds: float = 300) -> None:
        """Wait until each has only pods of its newest kind, all ready. Raises ToolFailed."""
        for name in deployments:
            arguments = ("rollout", "status", f"deployment/{name}", f"--timeout={seconds:g}s")
            self.kubectl(*arguments, seconds=seconds + 10)

    def why_not_ready(self) -> str:
        """What the cluster says about pods that are not ready: for the text of an error."""
        lines = []
        for pod in self.pods():
            if not pod.ready and not pod.leaving:
                lines += [f"{pod.name} is not ready:", *self._told_of(pod.name)]
        return "\n".join(lines)

    def _told_of(self, pod: str) -> Sequence[str]:
        fields = ("--field-selector", f"involvedObject.name={pod}")
        told = [f"  {event['message']}" for event in self.read("events", *fields)["items"]][-3:]
        try:
            log = self.kubectl("logs", pod, "--all-containers", "--tail=5")
        except ToolFailed:
            return told
        return [*told, *(f"  {line}" for line in log.splitlines())]


def _pod(item: Mapping[str, Any]) -> Pod:
    conditions = item["status"].get("conditions", ())
    return Pod(
        name=item["metadata"]["name"],
        app=item["metadata"].get("labels", {}).get("app", ""),
        address=item["status"].get("podIP", ""),
        ready=any(c["type"] == "Ready" and c["status"] == "True" for c in conditions),
        leaving="deletionTimestamp" in item["metadata"],
    )
