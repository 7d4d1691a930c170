"""The whole platform in a namespace: a release of the umbrella chart."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import ToolFailed, run

__all__ = ["Release", "chart_of", "merged"]

_SECONDS = 420


def chart_of(root: Path) -> Path:
    """The umbrella chart of the workspace at this folder."""
    return root / "deploy" / "helm" / "slipway"


def merged(*values: Mapping[str, Any]) -> dict[str, Any]:
    """Values as helm merges several files of them: maps by their keys, the later one wins."""
    result: dict[str, Any] = {}
    for each in values:
        for key, value in each.items():
            both = isinstance(value, Mapping) and isinstance(result.get(key), Mapping)
            result[key] = merged(result[key], value) if both else value
    return result


@dataclass(frozen=True)
class Release:
    """A release of this name; it exists after `install`."""

    name: str
    namespace: Namespace
    chart: Path

    def install(self, values: Mapping[str, Any]) -> None:
        """Install it, and wait until all of it is ready. Raises ToolFailed saying what is not."""
        run("helm", "dependency", "build", str(self.chart), seconds=120)
        self._deploy("install", values)

    def upgrade(self, values: Mapping[str, Any]) -> None:
        """Change these values, keep all others, and wait until all is ready. Raises ToolFailed."""
        self._deploy("upgrade", values, "--reset-then-reuse-values")

    def roll_back(self) -> None:
        """Return to the revision before, and wait until all is ready. Raises ToolFailed."""
        self.namespace.helm("rollback", self.name, "--wait", f"--timeout={_SECONDS}s")

    def test(self) -> str:
        """Run the chart's own tests. Raises ToolFailed; returns what helm says otherwise."""
        return self.namespace.helm("test", self.name, "--logs", f"--timeout={_SECONDS}s")

    def uninstall(self) -> None:
        """Remove it; what it kept in volumes goes with the namespace."""
        self.namespace.helm("uninstall", self.name, "--ignore-not-found", "--wait")

    def _deploy(self, verb: str, values: Mapping[str, Any], *options: str) -> None:
        with TemporaryDirectory() as folder:
            # JSON is YAML, too.
            file = Path(folder) / "values.yaml"
            file.write_text(json.dumps(values), encoding="utf-8")
            development = self.chart / "values-development.yaml"
            defaults = ("--values", str(development)) if verb == "install" else ()
            arguments = (*defaults, "--values", str(file), "--wait", f"--timeout={_SECONDS}s")
            try:
                self.namespace.helm(verb, self.name, str(self.chart), *arguments, *options)
            except ToolFailed as error:
                raise ToolFailed(f"{error}\n{self.namespace.why_not_ready()}") from error
