"""Argo CD's and Flux's deployment of production: a release of the chart for each service."""

from collections.abc import Iterator
from pathlib import Path

from devkit.describing.description import PlatformDescription, ServiceDescription
from devkit.rendering.artifact import Artifact, yaml_text

__all__ = ["artifacts"]

_FOLDER = Path("deploy/gitops")
_CHART = "deploy/helm/service"
_NAMESPACE = "slipway-production"
# The Kustomize component `repository` replaces this name by the address of the repository.
_FROM_REPOSITORY = "in-repository.yaml"


def artifacts(platform: PlatformDescription) -> Iterator[Artifact]:
    """Yield Argo CD's Application and Flux's HelmReleases."""
    if not platform.services:
        return
    yield Artifact(
        _FOLDER / "argocd/production/application.yaml",
        yaml_text("kustomization.yaml next to it", _application(platform)),
    )
    yield Artifact(
        _FOLDER / "flux/production/releases/services.yaml",
        yaml_text("kustomization.yaml next to it", *map(_release, platform.services)),
    )


def _application(platform: PlatformDescription) -> dict[str, object]:
    """Return the Application by which Argo CD installs all services."""
    return {
        "apiVersion": "argoproj.io/v1alpha1",
        "kind": "Application",
        "metadata": {
            "name": _NAMESPACE,
            "namespace": "argocd",
            "finalizers": ["resources-finalizer.argocd.argoproj.io/foreground"],
        },
        "spec": {
            "project": "slipway",
            "sources": [_source(service) for service in platform.services],
            "destination": {
                "server": "https://kubernetes.default.svc",
                "namespace": _NAMESPACE,
            },
            "syncPolicy": {
                "automated": {"prune": True, "selfHeal": True},
                "syncOptions": ["CreateNamespace=true", "ServerSideApply=true"],
                "managedNamespaceMetadata": {
                    "labels": {
                        "istio-injection": "enabled",
                        "pod-security.kubernetes.io/enforce": "restricted",
                    }
                },
            },
        },
    }


def _source(service: ServiceDescription) -> dict[str, object]:
    """Return Argo CD's source of a service: the chart with the service's values."""
    return {
        "repoURL": _FROM_REPOSITORY,
        "targetRevision": _FROM_REPOSITORY,
        "path": _CHART,
        "helm": {
            "releaseName": service.name,
            "valueFiles": [f"/{file}" for file in _values(service)],
            "ignoreMissingValueFiles": True,
        },
    }


def _release(service: ServiceDescription) -> dict[str, object]:
    """Return the HelmRelease by which Flux installs a service."""
    return {
        "apiVersion": "helm.toolkit.fluxcd.io/v2",
        "kind": "HelmRelease",
        "metadata": {"name": service.name, "namespace": _NAMESPACE},
        "spec": {
            "interval": "10m",
            "releaseName": service.name,
            "chart": {
                "spec": {
                    "chart": f"./{_CHART}",
                    "reconcileStrategy": "Revision",
                    "sourceRef": {
                        "kind": "GitRepository",
                        "name": "slipway",
                        "namespace": "flux-system",
                    },
                    # Flux does not read the chart's values.yaml if other files are named.
                    "valuesFiles": [f"{_CHART}/values.yaml", *_values(service)],
                    "ignoreMissingValuesFiles": True,
                }
            },
            "install": {"remediation": {"retries": 3}},
            "upgrade": {"remediation": {"retries": 3, "remediateLastFailure": True}},
            "driftDetection": {"mode": "enabled"},
        },
    }


def _values(service: ServiceDescription) -> list[str]:
    """Return the files of values; later files override earlier ones."""
    return [
        f"{service.folder}/deploy/facts.yaml",
        f"{service.folder}/deploy/values.yaml",
        "deploy/helm/environments/production.yaml",
        f"{_FOLDER}/versions/production.yaml",
        # This file is for a service with its own version; it need not exist.
        f"{_FOLDER}/versions/production/{service.name}.yaml",
    ]
