"""The demo's own pod: it lies in the shop's namespace, and its commands are run in it.

From there the services are reached as they reach each other, wherever the cluster is.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from devkit.cluster.namespace import Namespace

__all__ = ["NAME", "DemoPod"]

NAME = "demo"
"""Of the pod, its label `app` and its ServiceAccount: what services admit as a caller."""

_READY_SECONDS = 180


@dataclass(frozen=True)
class DemoPod:
    """The pod in a namespace; it exists after `start`. Under another name nobody admits it."""

    namespace: Namespace
    name: str = NAME

    def start(self, image: str) -> None:
        """Make it, and wait until commands can be run in it. Raises ToolFailed."""
        self.namespace.apply(*_objects(self.name, image))
        ready = (
            "wait",
            "--for=condition=Ready",
            f"pod/{self.name}",
            f"--timeout={_READY_SECONDS}s",
        )
        self.namespace.kubectl(*ready, seconds=_READY_SECONDS + 10)

    def command(self, *arguments: str) -> Sequence[str]:
        """The kubectl command that runs these arguments in it, with our standard input."""
        namespace = ("--namespace", self.namespace.name)
        return ("kubectl", *namespace, "exec", "--stdin", f"pod/{self.name}", "--", *arguments)

    def demo(self, *arguments: str) -> int:
        """Run `slipway demo` in it; its lines come through. Returns its exit code."""
        command = self.command("python", "/app", *arguments)
        return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode


def _objects(name: str, image: str) -> list[dict[str, Any]]:
    """A pod that waits for commands, as the restricted Pod Security Standard wants it."""
    metadata = {"name": name, "labels": {"app": name}}
    container = {
        "name": name,
        "image": image,
        "command": ["sleep", "infinity"],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}, "limits": {"memory": "512Mi"}},
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "volumeMounts": [{"name": "tmp", "mountPath": "/tmp"}],
    }
    spec = {
        "serviceAccountName": name,
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        # `sleep` as PID 1 does not hear SIGTERM.
        "terminationGracePeriodSeconds": 1,
        "securityContext": {
            "runAsNonRoot": True,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": [{"name": "tmp", "emptyDir": {"sizeLimit": "64Mi"}}],
    }
    account = {"automountServiceAccountToken": False}
    return [
        {"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata, **account},
        {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec},
    ]
