"""The pod that runs both shadows on a cluster, made of the pods' template of the service.

It has the image, settings, Secrets and ServiceAccount of the service, and its label `app`, so that
the same NetworkPolicies admit it to the broker and to the database. No Service sends it a request:
its readiness gate is a condition that nothing ever fulfils.
"""

from collections.abc import Mapping
from typing import Any

from devkit.canary.pods import APP
from devkit.canary.shadow.request import Request

__all__ = ["CANARY", "RECORD", "SHADOW_OF", "STABLE", "shadow_pod"]

RECORD, STABLE, CANARY = "record", "stable", "canary"
"""The names of its containers."""
SHADOW_OF = "slipway/shadow-of"
"""Its label with the name of the service."""

_FOLDER = "/var/lib/slipway-shadow"
_RECORDING = f"{_FOLDER}/recording"
_GATE = "slipway.dev/never-serves"
_WAIT_SECONDS = 300
"""How long the shadows wait for the recording."""
_AVAILABLE_SECONDS = 60
"""How long the recording waits until network policies let the new pod reach database and broker."""
_LOG_LEVEL = "APP_LOG_LEVEL"
# Probes, ports and hooks are those of a service that runs.
_KEPT = ("env", "envFrom", "imagePullPolicy", "resources", "securityContext")
_KEPT_OF_POD = (
    "affinity", "automountServiceAccountToken", "enableServiceLinks", "imagePullSecrets",
    "nodeSelector", "priorityClassName", "securityContext", "serviceAccountName", "tolerations",
)  # fmt: skip
# Labels by which routes, Deployments and the devkit select the pods that serve.
_LABELS_OF_TRACKS = ("pod-template-hash", "track", "version")


def shadow_pod(
    name: str, template: Mapping[str, Any], request: Request, stable: str, canary: str
) -> dict[str, Any]:
    """Return a pod whose first container records events and whose others replay them.

    `template` is the pod template of the service's Deployment; `stable` and `canary` are images.
    """
    spec, metadata = template["spec"], template["metadata"]
    (app,) = (each for each in spec["containers"] if each["name"] == APP)
    record = [*request.record(_RECORDING), "--wait", str(_AVAILABLE_SECONDS)]
    replay = [*request.replay(_RECORDING), "--wait", str(_WAIT_SECONDS)]
    labels = metadata.get("labels", {}).items()
    kept_mounts = {mount["name"] for mount in _mounts(app)}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {
            "name": name,
            "labels": {
                **{label: v for label, v in labels if label not in _LABELS_OF_TRACKS},
                SHADOW_OF: request.service,
            },
            "annotations": dict(metadata.get("annotations", {})),
        },
        "spec": {
            **{field: spec[field] for field in _KEPT_OF_POD if field in spec},
            "restartPolicy": "Never",
            "readinessGates": [{"conditionType": _GATE}],
            "containers": [
                _container(app, RECORD, canary, record),
                _container(app, STABLE, stable, replay),
                _container(app, CANARY, canary, replay),
            ],
            "volumes": [
                *(each for each in spec.get("volumes", ()) if each["name"] in kept_mounts),
                {"name": "shadow", "emptyDir": {}},
            ],
        },
    }


def _container(app: Mapping[str, Any], name: str, image: str, args: list[str]) -> dict[str, Any]:
    """Return a container like the service's own, which runs a command instead."""
    return {
        **{field: app[field] for field in _KEPT if field in app},
        "name": name,
        "image": image,
        "args": args,
        "env": [
            *(each for each in app.get("env", ()) if each["name"] != _LOG_LEVEL),
            {"name": _LOG_LEVEL, "value": "ERROR"},
        ],
        "volumeMounts": [*_mounts(app), {"name": "shadow", "mountPath": _FOLDER}],
    }


def _mounts(app: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the mounts of the service's container but for the weight of a canary."""
    return [mount for mount in app.get("volumeMounts", ()) if mount["name"] != "canary"]
