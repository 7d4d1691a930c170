"""The charts, rendered by the real helm from a copy, because helm writes into their folder."""

import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

__all__ = ["ENVIRONMENTS", "HELMS", "ROOT", "SERVICES", "Charts", "env_of", "pods"]

ROOT = Path(__file__).parents[2]
SERVICES = sorted(path.parts[-3] for path in ROOT.glob("services/*/deploy/facts.yaml"))
ENVIRONMENTS = ("development", "production")
# Names of helm's programs: `helm3` is the older one, if it is installed next to the newer.
HELMS = tuple(name for name in ("helm", "helm3") if shutil.which(name))

Document = dict[str, Any]


class Refused(Exception):
    """An error of helm, with its output."""


@dataclass(frozen=True)
class Charts:
    """The charts in a folder of their own, with the umbrella's dependencies."""

    folder: Path
    helm: str = "helm"

    @classmethod
    def copy(cls, folder: Path) -> "Charts":
        shutil.copytree(ROOT / "deploy/helm", folder, ignore=shutil.ignore_patterns("charts"))
        charts = cls(folder)
        charts.run("dependency", "build", str(folder / "slipway"))
        return charts

    def run(self, *arguments: str) -> str:
        """Raises Refused if helm ends with an error."""
        command = [self.helm, *arguments]
        done = subprocess.run(command, capture_output=True, encoding="utf-8", check=False)
        if done.returncode:
            raise Refused(done.stderr)
        return done.stdout

    def service(self, name: str, environment: str = "development", *sets: str) -> list[Document]:
        """A release of one service."""
        files = [
            ROOT / f"services/{name}/deploy/facts.yaml",
            ROOT / f"services/{name}/deploy/values.yaml",
            self.folder / f"environments/{environment}.yaml",
        ]
        return self._render("service", name, files, sets)

    def umbrella(self, environment: str = "development", *sets: str) -> list[Document]:
        """A release of all services."""
        return self._render(
            "slipway", "all", [self.folder / f"slipway/values-{environment}.yaml"], sets
        )

    def _render(
        self, chart: str, release: str, files: list[Path], sets: tuple[str, ...]
    ) -> list[Document]:
        text = self.run(
            "template",
            release,
            str(self.folder / chart),
            "--namespace=shop",
            "--kube-version=1.33.0",
            *(f"--values={file}" for file in files),
            *(f"--set={each}" for each in sets),
        )
        return [each for each in yaml.safe_load_all(text) if each]


def pods(documents: list[Document]) -> Iterator[tuple[str, Document]]:
    """Yield the name and the pod's spec of each workload."""
    for each in documents:
        spec = each if each["kind"] == "Pod" else each.get("spec", {}).get("template", {})
        if each["kind"] == "CronJob":
            spec = each["spec"]["jobTemplate"]["spec"]["template"]
        if "containers" in spec.get("spec", {}):
            yield f"{each['kind']}/{each['metadata']['name']}", spec["spec"]


def env_of(container: Document) -> dict[str, str]:
    """The container's variables."""
    return {each["name"]: each["value"] for each in container.get("env", [])}
