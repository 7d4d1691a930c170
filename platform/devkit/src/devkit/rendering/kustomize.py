"""Kustomize's lists of services: the resources of base/, and the fields with images."""

import json
from collections.abc import Iterator
from pathlib import Path

from devkit.describing.description import PlatformDescription, ServiceDescription
from devkit.rendering.artifact import Artifact, yaml_text

__all__ = ["artifacts"]

_FOLDER = Path("deploy/k8s")
_SPEC = "spec.template.spec"


def artifacts(platform: PlatformDescription) -> Iterator[Artifact]:
    """Yield the base's list of resources, and the component that sets images."""
    if not platform.services:
        return
    additions = "kustomization.yaml of the overlays"
    resources = [f"rendered/{service.name}.yaml" for service in platform.services]
    base = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "resources": resources,
        "patches": [
            _without_broker_key(service) for service in platform.services if service.migrations
        ],
    }
    yield Artifact(_FOLDER / "base/kustomization.yaml", yaml_text(additions, base))
    images = {
        "apiVersion": "kustomize.config.k8s.io/v1alpha1",
        "kind": "Component",
        "replacements": [
            _replacement("tag", _image_fields(platform, {"delimiter": ":", "index": 1})),
            _replacement("tag", _version_fields(platform)),
            # An index below 0 puts the registry before the first part of the name.
            _replacement("registry", _image_fields(platform, {"delimiter": "/", "index": -1})),
        ],
    }
    yield Artifact(_FOLDER / "images/kustomization.yaml", yaml_text(additions, images))


def _without_broker_key(service: ServiceDescription) -> dict[str, object]:
    """Return the patch that removes the broker's key from a migration, which needs none."""
    key = {"name": "APP_NATS_NKEY_SEED_FILE", "$patch": "delete"}
    pod = {"initContainers": [{"name": "migrate", "env": [key]}]}
    patch = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": service.name},
        "spec": {"template": {"spec": pod}},
    }
    return {"patch": json.dumps(patch)}


def _replacement(key: str, targets: list[dict[str, object]]) -> dict[str, object]:
    source = {"kind": "ConfigMap", "name": "images", "fieldPath": f"data.{key}"}
    return {"source": source, "targets": targets}


def _image_fields(
    platform: PlatformDescription, options: dict[str, object]
) -> list[dict[str, object]]:
    """Return the fields that hold a service's image, for a replacement of kustomize."""
    targets: list[dict[str, object]] = []
    for service in platform.services:
        groups = ["containers", *(["initContainers"] if service.migrations else [])]
        targets.append(
            {
                "select": {"kind": "Deployment", "name": service.name},
                "fieldPaths": [f"{_SPEC}.{group}.*.image" for group in groups],
                "options": options,
            }
        )
    return targets


def _version_fields(platform: PlatformDescription) -> list[dict[str, object]]:
    """Return the fields that hold a service's version, for a replacement of kustomize."""
    return [
        {
            "select": {"kind": "Deployment", "name": service.name},
            "fieldPaths": [f"{_SPEC}.containers.[name=app].env.[name=APP_VERSION].value"],
        }
        for service in platform.services
    ]
