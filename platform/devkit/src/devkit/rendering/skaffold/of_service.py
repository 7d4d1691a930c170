"""The configuration of one service: its image, its release, and its ports on this machine."""

from collections.abc import Iterator

from devkit.describing.description import ServiceDescription
from devkit.rendering.artifact import Artifact
from devkit.rendering.skaffold.configuration import (
    ROOT,
    build_command,
    configuration,
    image,
    profiles,
)

__all__ = ["of_service"]

_SHARED = "/opt/shared"
_RELEASE = "/deploy/helm/releases/0"


def of_service(service: ServiceDescription) -> Artifact:
    """Return the configuration, with patches for each profile."""
    content = {
        "requires": [{"path": f"{ROOT}/deploy/skaffold.yaml"}],
        "build": {"tagPolicy": {"inputDigest": {}}, "artifacts": [_image(service)]},
        "deploy": {"helm": {"releases": [_release(service)]}},
        "portForward": list(_port_forwards(service)),
    }
    path = f"{service.folder}/deploy/skaffold.yaml"
    patches = profiles(
        production=list(_patches_of_production(service)),
        kustomize=[{"op": "remove", "path": "/deploy/helm"}],
        debug=[_patch_of_target(service, "debug")],
    )
    return configuration(path, "values.yaml next to it", service.name, content | patches)


def _image(service: ServiceDescription) -> dict[str, object]:
    """Return Skaffold's build of a development image, and the files that it copies into pods."""
    source = f"{service.folder}/src"
    reloader = "platform/devkit/src/devkit/reload.py"
    synchronized = {source: "/app", "contracts": _SHARED, "platform/chassis/src": _SHARED}
    rules = [
        {"src": f"{folder}/**/*.py", "dest": destination, "strip": f"{folder}/"}
        for folder, destination in synchronized.items()
    ]
    built = image(service.distribution, ROOT, _build_arguments(service, "dev"), (reloader, source))
    return built | {"sync": {"manual": rules}}


def _build_arguments(service: ServiceDescription, target: str) -> str:
    return f"{service.name} --target {target}"


def _release(service: ServiceDescription) -> dict[str, object]:
    """Return Skaffold's Helm release of a service."""
    variable = service.distribution.replace("-", "_")
    return {
        "name": service.name,
        "chartPath": f"{ROOT}/deploy/helm/service",
        "valuesFiles": ["facts.yaml", "values.yaml", _values_of_environment("development")],
        "setValueTemplates": {"image.reference": f"{{{{.IMAGE_FULLY_QUALIFIED_{variable}}}}}"},
    }


def _patches_of_production(service: ServiceDescription) -> Iterator[dict[str, object]]:
    """Yield the patches of the profile that deploys the production image."""
    yield _patch_of_target(service, "service")
    yield {"op": "remove", "path": "/build/artifacts/0/sync"}
    yield {
        "op": "replace",
        "path": f"{_RELEASE}/valuesFiles/2",
        "value": _values_of_environment("production"),
    }


def _patch_of_target(service: ServiceDescription, target: str) -> dict[str, object]:
    """Return the patch that builds another target of the Dockerfile."""
    return {
        "op": "replace",
        "path": "/build/artifacts/0/custom/buildCommand",
        "value": build_command(_build_arguments(service, target)),
    }


def _values_of_environment(environment: str) -> str:
    return f"{ROOT}/deploy/helm/environments/{environment}.yaml"


def _port_forwards(service: ServiceDescription) -> Iterator[dict[str, object]]:
    """Yield a forward of each port of a service to the same port of this machine."""
    for port in (service.http.port, *([service.grpc.port] if service.grpc else [])):
        yield {
            "resourceType": "service",
            "resourceName": service.name,
            "port": port,
            "localPort": port,
        }
