"""The canaries of a platform: their stable versions, ports, weights, and the Envoy before them."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from devkit.errors import WrongUsage
from devkit.local_canary import CanaryFiles, CanaryOptions
from devkit.local_canary.checkout import Checkout, check_out
from devkit.local_canary.envoy_config import Front, envoy_config
from devkit.local_canary.locked_packages import other_versions
from devkit.platform.options import PlatformOptions
from devkit.platform.plan import Ports, Track
from devkit.ports import ReplicaPorts, free_replica_ports
from devkit.services import ServiceDefinition
from devkit.workspace import Workspace

__all__ = ["Canaries"]

_RUNTIME_LOCK = "requirements.lock"


class Canaries:
    """The services of which two versions run: a git ref as stable, the working tree as canary.

    Without a canary in the options there are none.

    Attributes:
        fronts: the ports of each of these services.
        tracks: the two versions of each of these services.
        files: the files with the weights.
        warnings: what the developer should know about them.
    """

    def __init__(self, options: PlatformOptions, workspace: Workspace, data: Path) -> None:
        self._options = options.canary or CanaryOptions({})
        self._replicas = options.replicas
        self._workspace = workspace
        self._data = data
        self.fronts: dict[str, Front] = {}
        self.tracks: dict[str, list[Track]] = {}
        self.files: list[CanaryFiles] = []
        self.warnings: list[str] = []

    def prepare(self, services: Sequence[ServiceDefinition], ports: Ports) -> None:
        """Check out the stable version, choose ports, and write the weights.

        Envoy gets a service's first `ports`, and the processes get free ones. The number of stable
        replicas is that of the options; there is one canary.

        Raises:
            WrongUsage: there is no stable version of a service.
        """
        canaried = [service for service in services if service.name in self._options.weights]
        if not canaried:
            return
        stable = check_out(self._workspace, self._options.ref, self._data / "checkouts")
        self._warn_of_other_packages(stable)
        for folder in (self._weights, self._routes):
            folder.mkdir(parents=True, exist_ok=True)
        for service in canaried:
            self._add(service, stable, ports[service.name, 0])

    def replace_ports(self, ports: Ports) -> Ports:
        """Return the ports on which services are called: Envoy's if a service has a canary."""
        others = {key: own for key, own in ports.items() if key[0] not in self.fronts}
        return others | {(name, 0): front.ports for name, front in self.fronts.items()}

    def envoy_config(self) -> dict[str, Any]:
        """Return the configuration of Envoy."""
        return envoy_config(self.fronts.values(), self._routes)

    def _add(self, service: ServiceDefinition, stable: Checkout, ports: ReplicaPorts) -> None:
        """Add the canary of a service, and its stable version."""
        name = service.name
        if name not in stable.packages:
            raise WrongUsage(
                f"there is no service {name} in {self._options.ref} ({stable.version}): it can be"
                f" a canary once it has been committed. Run without --canary {name}."
            )
        replicas = self._replicas.get(name, 1)
        front = self.fronts[name] = Front(
            name,
            ports,
            stable=[free_replica_ports() for _ in range(replicas)],
            canary=[free_replica_ports()],
            serves_grpc=service.grpc_port is not None,
        )
        weight_file = self._weights / f"{name}.weight"
        files = CanaryFiles(name, str(weight_file), str(self._routes), dict(self._options.match))
        files.write(self._options.weights[name])
        self.files.append(files)
        self.tracks[name] = [
            Track(
                "stable",
                front.stable,
                stable.packages[name],
                stable.workspace.root,
                {"APP_VERSION": stable.version, "PYTHONPATH": stable.python_path},
            ),
            Track(
                "canary",
                front.canary,
                service.package,
                self._workspace.root,
                {"APP_VERSION": "canary", "APP_EVENT_WEIGHT_FILE": str(weight_file)},
            ),
        ]

    def _warn_of_other_packages(self, stable: Checkout) -> None:
        """Note the packages that the stable version was locked with in other versions."""
        lock = stable.workspace.root / _RUNTIME_LOCK
        other = other_versions(lock.read_text(encoding="utf-8")) if lock.is_file() else []
        if other:
            self.warnings.append(
                f"the stable version {stable.version} runs with the packages of this environment,"
                f" but its {_RUNTIME_LOCK} has others: {', '.join(other)}"
            )

    @property
    def _weights(self) -> Path:
        return self._data / "canary"

    @property
    def _routes(self) -> Path:
        return self._data / "envoy" / "routes"
