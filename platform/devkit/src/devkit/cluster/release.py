"""A release of the umbrella chart: the whole platform in a namespace."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from devkit.cluster.dependencies import update_dependencies
from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import ToolFailed

__all__ = ["Release", "chart_of", "merged"]

_SECONDS = 420


def chart_of(root: Path) -> Path:
    """Return the folder of the umbrella chart of the workspace at `root`."""
    return root / "deploy" / "helm" / "slipway"


def merged(*values: Mapping[str, Any]) -> dict[str, Any]:
    """Merge values as helm merges files of values: maps by key, and later values win."""
    result: dict[str, Any] = {}
    for each in values:
        for key, value in each.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = merged(result[key], value) if both else value
    return result


@dataclass(frozen=True)
class Release:
    """A helm release by its name; `install` makes it."""

    name: str
    namespace: Namespace
    chart: Path

    def install(self, values: Mapping[str, Any]) -> None:
        """Install the chart and wait until it is ready. Raises ToolFailed naming unready pods."""
        update_dependencies(self.chart)
        self._deploy("install", values)

    def upgrade(self, values: Mapping[str, Any]) -> None:
        """Change these values, keep all others, and wait until ready. Raises ToolFailed."""
        self._deploy("upgrade", values, "--reset-then-reuse-values")

    def roll_back(self) -> None:
        """Return to the previous revision and wait until it is ready. Raises ToolFailed."""
        self.namespace.helm("rollback", self.name, "--wait", f"--timeout={_SECONDS}s")

    def test(self) -> str:
        """Run the chart's tests and return helm's output. Raises ToolFailed if one fails."""
        return self.namespace.helm("test", self.name, "--logs", f"--timeout={_SECONDS}s")

    def uninstall(self) -> None:
        """Uninstall the release. Its volumes stay until the namespace is deleted."""
        self.namespace.helm("uninstall", self.name, "--ignore-not-found", "--wait")

    def _deploy(self, verb: str, values: Mapping[str, Any], *options: str) -> None:
        """Install or upgrade the release, and wait until its pods are ready."""
        with TemporaryDirectory() as folder:
            # JSON is valid YAML.
            file = Path(folder) / "values.yaml"
            file.write_text(json.dumps(values), encoding="utf-8")
            development = self.chart / "values-development.yaml"
            defaults = ("--values", str(development)) if verb == "install" else ()
            arguments = (*defaults, "--values", str(file), "--wait", f"--timeout={_SECONDS}s")
            try:
                self.namespace.helm(verb, self.name, str(self.chart), *arguments, *options)
            except ToolFailed as error:
                raise ToolFailed(f"{error}\n{self.namespace.why_not_ready()}") from error
