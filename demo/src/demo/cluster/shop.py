"""The sample shop on a cluster: its Helm release, its entry, and the pod of the demo."""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from demo.cluster.addresses import addresses, caller_values
from demo.cluster.entry import (
    entry_url,
    gateway_class,
    gateway_values,
    open_gateway,
    wait_open,
)
from demo.cluster.pod import NAME, DemoPod
from devkit.cluster.images import push_images
from devkit.cluster.namespace import Namespace
from devkit.cluster.release import Release, chart_of, merged
from devkit.describing.description import PlatformDescription
from devkit.describing.reading import describe_platform
from devkit.workspace import Workspace

__all__ = ["ClusterShop", "push_shop"]

# The data is deleted after the demo, so no disk needs to outlive a pod.
_VOLUMES = {name: {"storage": {"enabled": False}} for name in ("nats", "postgresql")}

# Without Istio's CNI plug-in, each pod gets a container that sets up the network for the sidecar.
# Only the Pod Security Standard `privileged` admits it.
_MESH_LABELS = {"istio-injection": "enabled"}


def push_shop(workspace: Workspace, registry: str) -> str:
    """Build and push the images of the services and of the demo, and return their tag."""
    return push_images(workspace, registry, [NAME])


@dataclass(frozen=True)
class ClusterShop:
    """The shop in a namespace. Each step raises ToolFailed if it fails."""

    workspace: Workspace
    namespace: Namespace
    registry: str
    tag: str
    mesh: bool = False

    @property
    def release(self) -> Release:
        return Release("slipway", self.namespace, chart_of(self.workspace.root))

    @property
    def pod(self) -> DemoPod:
        return DemoPod(self.namespace)

    @cached_property
    def platform(self) -> PlatformDescription:
        return describe_platform(self.workspace)

    @property
    def demo_image(self) -> str:
        """The image of the demo's pod."""
        return f"{self.registry}/slipway-{NAME}:{self.tag}"

    def make_namespace(self) -> None:
        """Create the namespace; without sidecars it admits only `restricted` pods."""
        if self.mesh:
            self.namespace.create("privileged", _MESH_LABELS)
        else:
            self.namespace.create("restricted")

    def open_entry(self) -> None:
        """Open a Gateway if the cluster has a class for one; in a mesh, apply deploy/istio."""
        if self.mesh:
            folder = self.workspace.root / "deploy" / "istio"
            self.namespace.kubectl("apply", "--kustomize", str(folder))
            wait_open(self.namespace)
        elif name := gateway_class():
            open_gateway(self.namespace, name)

    def install(self, values: Mapping[str, Any] | None = None) -> None:
        """Install the chart with the values that the demo needs, overridden by `values`."""
        images = {"global": {"image": {"registry": self.registry, "tag": self.tag}}}
        mesh = {"global": {"mesh": {"enabled": True}}} if self.mesh else {}
        entry = gateway_values() if gateway_class() else {}
        self.release.install(
            merged(images, mesh, _VOLUMES, caller_values(self.platform), entry, values or {})
        )

    def start_pod(self) -> None:
        """Start the demo's pod."""
        self.pod.start(self.demo_image)

    @property
    def addresses(self) -> list[str]:
        """The values of `slipway demo --at` in the demo's pod."""
        return addresses(self.platform, entry_url(self.platform, self.namespace))
