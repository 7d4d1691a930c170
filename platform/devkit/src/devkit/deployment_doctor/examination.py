"""All checks of `slipway doctor --cluster`, and which of them each way to deploy needs."""

from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from devkit.deployment_doctor.cluster import cluster_findings
from devkit.deployment_doctor.tools import tool_findings
from devkit.doctor import Finding

__all__ = ["Way", "examine_deployment", "ways_to_deploy"]

# The names of the checks that each way to deploy needs.
_NEEDS: Mapping[str, tuple[str, ...]] = {
    "compose": ("docker", "compose"),
    "skaffold": (
        "docker", "kubectl", "helm", "skaffold", "cluster", "nodes", "storage", "registry",
    ),
    "helm": ("kubectl", "helm", "cluster", "nodes", "storage", "registry"),
    "helm in production": (
        "kubectl", "helm", "cluster", "nodes", "registry",
        "gateway API", "istio", "keda", "prometheus",
    ),
    "kustomize": ("kubectl", "cluster", "nodes", "storage", "registry"),
    "argo cd": ("cluster", "argo cd"),
    "flux": ("cluster", "flux"),
    "scaling by CPU": ("cluster", "metrics"),
    "scaling by events": ("cluster", "keda", "prometheus"),
    "mesh and canary": ("kubectl", "cluster", "istio", "gateway API"),
}  # fmt: skip


@dataclass(frozen=True)
class Way:
    """A way to deploy, and the names of the failed checks that it needs."""

    name: str
    missing: tuple[str, ...]


def examine_deployment() -> list[Finding]:
    """Check the tools on the PATH and the cluster that kubectl's current context names."""
    with ThreadPoolExecutor(max_workers=8) as pool:
        tools = list(tool_findings(pool))
        return tools + list(cluster_findings(tools, pool))


def ways_to_deploy(findings: Iterable[Finding]) -> Iterator[Way]:
    """Yield each way to deploy with what is missing for it."""
    missing = {finding.about for finding in findings if not finding.ok}
    for name, needs in _NEEDS.items():
        yield Way(name, tuple(need for need in needs if need in missing))
