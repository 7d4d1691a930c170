"""Manifests below deploy/k8s, rendered by helm; the lint compares their hashes."""

import base64
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import yaml

from devkit.cluster.dependencies import update_dependencies
from devkit.cluster.tools import run
from devkit.describing.description import PlatformDescription, ServiceDescription
from devkit.rendering.artifact import yaml_of
from devkit.rendering.recorded import Recorded

__all__ = ["MANIFESTS", "rendered_manifests"]

MANIFESTS = Recorded(
    file="deploy/k8s/hashes",
    inputs=(
        "deploy/helm/service/*.yaml",
        "deploy/helm/service/files/**/*",
        "deploy/helm/service/templates/**/*",
        "deploy/helm/slipway/*.yaml",
        "deploy/helm/slipway/templates/**/*",
        "deploy/k8s/values.yaml",
        "services/*/deploy/facts.yaml",
        "services/*/deploy/values.yaml",
    ),
    outputs=("deploy/k8s/*/rendered/*.yaml", "deploy/k8s/secrets.example.yaml"),
    command="make render ARGS=--charts",
)
_HEADER = "# Rendered from the charts by `slipway render --charts`; do not edit.\n"
_CHANGE_ME = "change-me"


def rendered_manifests(platform: PlatformDescription) -> Iterator[tuple[Path, str]]:
    """Yield each file and its content. Raises DevkitError if helm is missing or refuses."""
    folder = platform.root / "deploy/k8s"
    for service in platform.services:
        yield (
            folder / f"base/rendered/{service.name}.yaml",
            _manifest_text(_service_manifests(platform, service)),
        )
    umbrella = list(_server_manifests(platform))
    secrets = [each for each in umbrella if each["kind"] == "Secret"]
    others = [each for each in umbrella if each["kind"] != "Secret"]
    yield folder / "platform/rendered/platform.yaml", _manifest_text(others)
    yield (
        folder / "secrets.example.yaml",
        _manifest_text(_example_of_secret(secret) for secret in secrets),
    )


def _service_manifests(platform: PlatformDescription, service: ServiceDescription) -> Iterator[Any]:
    deploy = platform.root / service.folder / "deploy"
    files = [
        deploy / "facts.yaml",
        deploy / "values.yaml",
        platform.root / "deploy/k8s/values.yaml",
    ]
    options = [option for file in files for option in ("--values", str(file))]
    return _helm_template(service.name, platform.root / "deploy/helm/service", *options)


def _server_manifests(platform: PlatformDescription) -> Iterator[Any]:
    """Yield the manifests of the broker and the database, without the services."""
    chart = platform.root / "deploy/helm/slipway"
    off = [f"{service.name}.enabled=false" for service in platform.services]
    update_dependencies(chart)
    values = str(chart / "values-development.yaml")
    return _helm_template("slipway", chart, "--values", values, "--set", ",".join(off))


def _helm_template(name: str, chart: Path, *options: str) -> Iterator[Any]:
    text = run("helm", "template", name, str(chart), *options, "--no-hooks", "--skip-tests")
    return (document for document in yaml.safe_load_all(text) if document)


def _example_of_secret(secret: Mapping[str, Any]) -> dict[str, Any]:
    """Return the Secret in plain text, with every password replaced."""
    texts = {key: base64.b64decode(each).decode() for key, each in secret.get("data", {}).items()}
    texts |= secret.get("stringData", {})
    hidden = {key: re.sub(r"\b[A-Za-z0-9]{32}\b", _CHANGE_ME, text) for key, text in texts.items()}
    kept = {key: value for key, value in secret.items() if key not in ("data", "stringData")}
    return kept | {"stringData": hidden}


def _manifest_text(documents: Iterator[Any] | list[Any]) -> str:
    return _HEADER + yaml_of(*documents)
