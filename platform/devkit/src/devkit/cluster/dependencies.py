"""The charts that a chart includes."""

from pathlib import Path

from devkit.cluster.tools import run

__all__ = ["update_dependencies"]

_SECONDS = 120


def update_dependencies(chart: Path) -> None:
    """Put the charts that `chart` depends on into its folder `charts`.

    Raises:
        DevkitError: helm is missing or refuses.
    """
    # `helm dependency build` refuses the lock file that was written before a service was added.
    run("helm", "dependency", "update", "--skip-refresh", str(chart), seconds=_SECONDS)
