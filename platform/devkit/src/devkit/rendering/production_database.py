"""PostgreSQL for production by CloudNativePG, with a database and its owner for each service."""

from collections.abc import Iterator
from pathlib import Path

from devkit.describing.description import PlatformDescription
from devkit.rendering.artifact import Artifact, yaml_text

__all__ = ["artifacts"]

_FILE = Path("deploy/helm/production/postgresql.yaml")
_CLUSTER = "postgresql"


def artifacts(platform: PlatformDescription) -> Iterator[Artifact]:
    """Yield a cluster of three servers, with a role and a database for each service."""
    names = [service.name for service in platform.services if service.database]
    if names:
        documents = [_cluster(names), *map(_database, names)]
        yield Artifact(_FILE, yaml_text("an overlay of kustomize", *documents))


def _cluster(names: list[str]) -> dict[str, object]:
    """Return a PostgreSQL cluster of CloudNativePG with these roles."""
    return {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Cluster",
        "metadata": {"name": _CLUSTER},
        "spec": {
            "instances": 3,
            # The servers stay outside of a mesh, because their operator calls them by its own TLS.
            "inheritedMetadata": {"labels": {"sidecar.istio.io/inject": "false"}},
            "storage": {"size": "20Gi"},
            # A commit must reach the disk of a second server before it is acknowledged.
            "postgresql": {"synchronous": {"method": "any", "number": 1}},
            "managed": {"roles": [_role(name) for name in names]},
        },
    }


def _role(name: str) -> dict[str, object]:
    return {
        "name": name,
        "ensure": "present",
        "login": True,
        "passwordSecret": {"name": f"{name}-database-role"},
    }


def _database(name: str) -> dict[str, object]:
    return {
        "apiVersion": "postgresql.cnpg.io/v1",
        "kind": "Database",
        "metadata": {"name": name},
        "spec": {"name": name, "owner": name, "cluster": {"name": _CLUSTER}},
    }
