"""The event types that a version of a service handles, as its image declares them."""

import json
import time
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

from devkit.canary.pods import APP, HOPELESS, why_it_waits
from devkit.canary.target import Target
from devkit.canary.waiting import Stop
from devkit.errors import DevkitError

__all__ = ["CannotStart", "types_of_image", "types_of_stable"]

_SECONDS = 180
_LOOK_SECONDS = 0.5
_TYPES_OF = "slipway/types-of"
# It imports the composition root, which opens and starts nothing.
_PRINT_TYPES = """
import importlib, json, pathlib, sys
sys.path.insert(0, "/app")
[package] = [entry.parent.name for entry in pathlib.Path("/app").glob("*/__main__.py")]
service = importlib.import_module(f"{package}.service").service
types = {each.type for router in service.events for each in router.subscriptions}
print(json.dumps(sorted(types)))
"""
# Fields of the stable pods that decide whether and where a pod may run.
_KEPT = (
    "automountServiceAccountToken",
    "enableServiceLinks",
    "imagePullSecrets",
    "nodeSelector",
    "priorityClassName",
    "securityContext",
    "serviceAccountName",
    "tolerations",
)
_KEPT_OF_CONTAINER = ("imagePullPolicy", "resources", "securityContext")


class CannotStart(DevkitError):
    """The canary's image cannot be pulled, or its code cannot be imported."""


def types_of_stable(target: Target) -> frozenset[str]:
    """Return the event types that the running stable version handles. Raises ToolFailed."""
    where = f"deployment/{target.service}"
    command = ("exec", where, f"--container={APP}", "--", "python", "-c", _PRINT_TYPES)
    return frozenset(json.loads(target.namespace.kubectl(*command, seconds=_SECONDS)))


def types_of_image(target: Target, image: str, seconds: float, stop: Stop) -> frozenset[str]:
    """Return the event types that an image handles, by a pod of its own that ends at once.

    The pod has no sidecar, no settings and no Secrets, and no Service leads to it.

    Raises:
        CannotStart: the image cannot be pulled, its code cannot be imported, or the pod has not
            ended after `seconds`.
        Interrupted, TakenOver: as Stop.pause.
    """
    name = f"{target.canary}-types-{uuid4().hex[:6]}"
    namespace = target.namespace
    # A command that was killed has left its pod.
    left = f"{_TYPES_OF}={target.service}"
    namespace.kubectl("delete", "pods", "--selector", left, "--ignore-not-found", "--wait=false")
    deployment = namespace.read(f"deployment/{target.service}")
    labels = {"app": name, _TYPES_OF: target.service}
    pod = _pod(name, labels, image, deployment["spec"]["template"]["spec"])
    ends_at = time.monotonic() + seconds
    try:
        namespace.apply(pod, create=True)
        while (phase := _phase(namespace.read(f"pod/{name}"))) not in ("Succeeded", "Failed"):
            if time.monotonic() > ends_at:
                raise CannotStart(f"{image} has not run after {seconds:g} s: {phase}")
            stop.pause(_LOOK_SECONDS)
        printed = namespace.kubectl("logs", name)
    finally:
        now = ("--wait=false", "--grace-period=0", "--force", "--ignore-not-found")
        namespace.kubectl("delete", f"pod/{name}", *now)
    if phase == "Failed":
        lines = "".join(f"\n  {line}" for line in printed.splitlines()[-5:])
        raise CannotStart(f"the code of {image} cannot be imported:{lines}")
    return frozenset(json.loads(printed.splitlines()[-1]))


def _phase(pod: Mapping[str, Any]) -> str:
    """Return the phase of the pod. Raises CannotStart if it cannot run."""
    reason, message = why_it_waits(pod["status"])
    if reason in HOPELESS:
        image = pod["spec"]["containers"][0]["image"]
        raise CannotStart(f"{image} cannot run: {reason}: {message}")
    return str(pod["status"]["phase"])


def _pod(
    name: str, labels: Mapping[str, str], image: str, stable: Mapping[str, Any]
) -> dict[str, Any]:
    """Return a pod of the canary's image; `stable` is the spec of the stable pods."""
    (container,) = (each for each in stable["containers"] if each["name"] == APP)
    metadata = {
        "name": name,
        "labels": {
            **labels,
            "istio.io/dataplane-mode": "none",
            "sidecar.istio.io/inject": "false",
        },
        "annotations": {"linkerd.io/inject": "disabled"},
    }
    printing = {"name": APP, "image": image, "command": ["python", "-c", _PRINT_TYPES]}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": metadata,
        "spec": {
            **{field: stable[field] for field in _KEPT if field in stable},
            "restartPolicy": "Never",
            "containers": [
                {**{f: container[f] for f in _KEPT_OF_CONTAINER if f in container}, **printing}
            ],
        },
    }
