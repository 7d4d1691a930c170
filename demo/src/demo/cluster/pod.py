"""The demo's pod in the shop's namespace, in which its commands are run.

In the pod, the services have the same addresses as for each other, wherever the cluster is.
"""

import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from devkit.cluster.namespace import Namespace

__all__ = ["NAME", "DemoPod"]

NAME = "demo"
"""The name of the pod, of its label `app` and of its ServiceAccount, which services admit."""

_READY_SECONDS = 180


@dataclass(frozen=True)
class DemoPod:
    """The pod in a namespace; it exists after `start`. Services refuse a pod of another name."""

    namespace: Namespace
    name: str = NAME

    def start(self, image: str) -> None:
        """Create the pod, and wait until commands can be run in it. Raises ToolFailed."""
        self.namespace.apply(*_manifests(self.name, image))
        ready = (
            "wait",
            "--for=condition=Ready",
            f"pod/{self.name}",
            f"--timeout={_READY_SECONDS}s",
        )
        self.namespace.kubectl(*ready, seconds=_READY_SECONDS + 10)

    def command(self, *arguments: str) -> Sequence[str]:
        """Return the kubectl command that runs a command in the pod, with this process' stdin."""
        namespace = ("--namespace", self.namespace.name)
        return ("kubectl", *namespace, "exec", "--stdin", f"pod/{self.name}", "--", *arguments)

    def run_demo(self, *arguments: str) -> int:
        """Run `slipway demo` in the pod, print its output, and return its exit code."""
        command = self.command("python", "/app", *arguments)
        return subprocess.run(command, stdin=subprocess.DEVNULL, check=False).returncode


def _manifests(name: str, image: str) -> list[dict[str, Any]]:
    """Return a pod that waits for commands, valid for the Pod Security Standard `restricted`."""
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
        # `sleep` ignores SIGTERM as process 1, so waiting longer would not help.
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
