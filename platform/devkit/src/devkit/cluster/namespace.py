"""A namespace of the cluster, with the commands of kubectl and helm that act in it."""

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
    """A pod as the API server describes it."""

    name: str
    app: str
    address: str
    """The pod's IP address; empty until it has one."""
    ready: bool
    leaving: bool


def why_unreachable() -> str | None:
    """Return why no cluster answers; None if one does."""
    try:
        run("kubectl", "version", "--request-timeout=5s", "--output=json", seconds=15)
    except DevkitError as error:
        return str(error).splitlines()[-1]
    return None


def check_cluster() -> None:
    """Raise DevkitError if no cluster answers."""
    if reason := why_unreachable():
        raise DevkitError(
            f"no cluster answers: {reason}\n"
            "Start one (kind create cluster, minikube start, k3d cluster create) or set KUBECONFIG."
        )


@dataclass(frozen=True)
class Namespace:
    """A namespace by its name; `create` makes it."""

    name: str

    def kubectl(self, *arguments: str, input: str | None = None, seconds: float = 120) -> str:
        """Run kubectl in this namespace. Raises ToolFailed."""
        return run("kubectl", "--namespace", self.name, *arguments, input=input, seconds=seconds)

    def helm(self, *arguments: str, seconds: float = 600, interruptible: bool = True) -> str:
        """Run helm in this namespace, as `run` does. Raises ToolFailed."""
        command = ("helm", "--namespace", self.name, *arguments)
        return run(*command, seconds=seconds, interruptible=interruptible)

    def create(self, security: PodSecurity, labels: Mapping[str, str] | None = None) -> None:
        """Create the namespace at a Pod Security level. Raises ToolFailed if it exists."""
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
        """Delete the namespace with everything in it; do nothing if it does not exist."""
        run(
            "kubectl",
            *("delete", "namespace", self.name, "--ignore-not-found", f"--wait={wait}".lower()),
            seconds=300,
        )

    def apply(self, *objects: Mapping[str, Any], create: bool = False) -> None:
        """Apply these objects to the cluster. Raises ToolFailed."""
        items = {"apiVersion": "v1", "kind": "List", "items": list(objects)}
        # Validation would download every schema of the cluster first, even for a simple object.
        verb = ("create", "--validate=false") if create else ("apply", "--server-side")
        self.kubectl(*verb, "--filename", "-", input=json.dumps(items))

    def read(self, *what: str) -> Any:
        """Return the answer of `kubectl get`, parsed from JSON. Raises ToolFailed."""
        return json.loads(self.kubectl("get", *what, "--output=json"))

    def pods(self, selector: str = "") -> list[Pod]:
        """Return the pods that match a label selector; all pods by default."""
        return [_pod(item) for item in self.read("pods", "--selector", selector)["items"]]

    def wait_rolled_out(self, deployments: Iterable[str], seconds: float = 300) -> None:
        """Wait until each deployment has only ready pods of its newest revision.

        Raises:
            ToolFailed: a deployment is not rolled out after `seconds`.
        """
        for name in deployments:
            arguments = ("rollout", "status", f"deployment/{name}", f"--timeout={seconds:g}s")
            self.kubectl(*arguments, seconds=seconds + 10)

    def why_not_ready(self) -> str:
        """Return events and logs of the pods that are not ready, for an error message."""
        lines = []
        for pod in self.pods():
            if not pod.ready and not pod.leaving:
                lines += [f"{pod.name} is not ready:", *self._events_and_log(pod.name)]
        return "\n".join(lines)

    def _events_and_log(self, pod: str) -> Sequence[str]:
        """Return the last events and log lines of a pod, as an explanation of its failure."""
        fields = ("--field-selector", f"involvedObject.name={pod}")
        events = [f"  {event['message']}" for event in self.read("events", *fields)["items"]][-3:]
        try:
            log = self.kubectl("logs", pod, "--all-containers", "--tail=5")
        except ToolFailed:
            return events
        return [*events, *(f"  {line}" for line in log.splitlines())]


def _pod(item: Mapping[str, Any]) -> Pod:
    """Return a pod, from kubectl's JSON."""
    conditions = item["status"].get("conditions", ())
    return Pod(
        name=item["metadata"]["name"],
        app=item["metadata"].get("labels", {}).get("app", ""),
        address=item["status"].get("podIP", ""),
        ready=any(c["type"] == "Ready" and c["status"] == "True" for c in conditions),
        leaving="deletionTimestamp" in item["metadata"],
    )
