"""Actions on a cluster's node: kill a pod's processes, make a folder for a volume.

A privileged pod in a namespace of its own performs them, on a cluster of one node.
"""

from typing import Any

from devkit.cluster.namespace import Namespace

__all__ = ["Node"]

_POD = "node"
# The containers of a pod have its name as their HOSTNAME.
_KILL = """
import os, sys
killed = 0
for pid in filter(str.isdecimal, os.listdir("/proc")):
    try:
        with open(f"/proc/{pid}/environ", "rb") as file:
            names = file.read().split(b"\\0")
        if f"HOSTNAME={sys.argv[1]}".encode() in names:
            os.kill(int(pid), 9)
            killed += 1
    except OSError:
        continue
sys.exit(not killed)
"""


class Node:
    """The node, controlled by a pod that sees all of its processes and files."""

    def __init__(self, namespace: Namespace, image: str) -> None:
        self._namespace = namespace
        namespace.apply(_pod(image))
        ready = ("wait", "--for=condition=Ready", f"pod/{_POD}", "--timeout=120s")
        namespace.kubectl(*ready, seconds=130)
        labels = namespace.read("node", self._name())["metadata"]["labels"]
        self.hostname: str = labels["kubernetes.io/hostname"]
        """The label by which a volume names its node."""

    def kill(self, pod: str) -> None:
        """Kill every process of the pod of this name by SIGKILL."""
        self._run("python", "-c", _KILL, pod)

    def make_folder(self, path: str) -> None:
        """Make a folder that belongs to root, with its parents."""
        self._run("mkdir", "-p", f"/node{path}")

    def remove_folder(self, path: str) -> None:
        """Remove it with what is in it."""
        self._run("rm", "-rf", f"/node{path}")

    def _name(self) -> str:
        return str(self._namespace.read("pod", _POD)["spec"]["nodeName"])

    def _run(self, *command: str) -> None:
        self._namespace.kubectl("exec", f"pod/{_POD}", "--", *command)


def _pod(image: str) -> dict[str, Any]:
    container = {
        "name": _POD,
        "image": image,
        "command": ["sleep", "infinity"],
        "securityContext": {"privileged": True, "runAsUser": 0},
        "volumeMounts": [{"name": "node", "mountPath": "/node"}],
    }
    spec = {
        "hostPID": True,
        "terminationGracePeriodSeconds": 1,
        "containers": [container],
        "volumes": [{"name": "node", "hostPath": {"path": "/"}}],
    }
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": _POD}, "spec": spec}
