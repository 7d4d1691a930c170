"""The canary of a service as the cluster has it at this moment."""

from dataclasses import dataclass
from typing import Any

from devkit.canary.image import Image
from devkit.canary.pods import APP, image_of
from devkit.canary.target import Target

__all__ = ["Situation", "read_situation"]


@dataclass(frozen=True)
class Situation:
    """The two versions of a service.

    Attributes:
        stable: The full reference of the stable image.
        canary: The canary's image as the values name it; empty without a canary.
        version: The canary's APP_VERSION, which its dead letters name; empty without a canary.
        weight: The weight that the values ask for, in percent.
        lanes: Whether the canary has a weight file, because the service reads lanes.
    """

    stable: str
    canary: Image
    version: str
    weight: int
    lanes: bool

    @property
    def promoted(self) -> bool:
        """Whether stable has the canary's image, as after a promotion that has not ended."""
        return bool(self.canary) and self.canary.full_name(self.stable) == self.stable


def read_situation(target: Target) -> Situation:
    """Return what the release's values ask for and what is deployed. Raises ToolFailed."""
    values = target.values()
    asked = values.get("canary") or {}
    named = ("deployments,configmaps", "--selector", f"app.kubernetes.io/name={target.service}")
    items = target.namespace.read(*named)["items"]
    found = {(item["kind"], item["metadata"]["name"]): item for item in items}
    canary = found.get(("Deployment", target.canary))
    return Situation(
        stable=image_of(_pod_spec(found["Deployment", target.service])),
        canary=Image.of(asked.get("image") or {}),
        version=_version(_pod_spec(canary)) if canary else "",
        weight=int(asked.get("weight") or 0),
        lanes=("ConfigMap", target.canary) in found,
    )


def _pod_spec(deployment: Any) -> Any:
    return deployment["spec"]["template"]["spec"]


def _version(spec: Any) -> str:
    """Return the version that the service's container is given."""
    (container,) = (each for each in spec["containers"] if each["name"] == APP)
    variables = {each["name"]: each.get("value", "") for each in container.get("env", ())}
    return str(variables.get("APP_VERSION", ""))
