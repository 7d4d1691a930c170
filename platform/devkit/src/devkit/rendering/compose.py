"""compose.yaml of each service, and services.yaml, by which docker/compose.yaml includes them."""

import json
from collections.abc import Iterator
from pathlib import Path

from devkit.compose.ports import ports_of
from devkit.describing.description import PlatformDescription, ServiceDescription
from devkit.rendering.artifact import Artifact, yaml_text

__all__ = ["artifacts"]

_ADDITIONS = "docker/compose.override.yaml"
_COMMON = "../../../docker/service.yaml"
_DONE = {"condition": "service_completed_successfully"}
_SECRETS = "../../../docker/.secrets"


def artifacts(platform: PlatformDescription) -> Iterator[Artifact]:
    """Yield the file of each service, and the list of these files."""
    for service in platform.services:
        yield Artifact(_path(service), yaml_text(_ADDITIONS, _file(service)))
    if platform.services:
        files = [f"../{_path(service)}" for service in platform.services]
        yield Artifact(Path("docker/services.yaml"), yaml_text(_ADDITIONS, {"include": files}))


def _path(service: ServiceDescription) -> Path:
    return Path(service.folder, "deploy/compose.yaml")


def _file(service: ServiceDescription) -> dict[str, object]:
    jobs = {**_migration_job(service), **_streams_job(service)}
    return {"services": {**jobs, service.name: _service(service)}, **_secrets(service)}


def _service(service: ServiceDescription) -> dict[str, object]:
    """Return the container of a service."""
    targets = {call.service: f"dns:///{call.service}:{call.port}" for call in service.calls}
    return {
        "extends": {"file": _COMMON, "service": "service"},
        "image": _image(service),
        **({"environment": {"APP_TARGETS": json.dumps(targets)}} if targets else {}),
        "secrets": [
            _broker_key_secret(service.name),
            *([_database_url_secret(service, "service")] if service.database else []),
        ],
        "ports": [
            f"127.0.0.1:${{{variable}:-{port}}}:{port}" for variable, port in ports_of(service)
        ],
        "healthcheck": {"test": ["CMD", "python", "-S", "-c", _readiness_check(service)]},
        "depends_on": {
            "nats": {"condition": "service_started"},
            **dict.fromkeys((*_migration_job(service), *_streams_job(service)), _DONE),
        },
    }


def _migration_job(service: ServiceDescription) -> dict[str, object]:
    """Return the job that migrates the database as the owner of its schema."""
    if not service.migrations:
        return {}
    return {
        f"{service.name}-migrate": {
            "extends": {"file": _COMMON, "service": "job"},
            "image": _image(service),
            "command": ["migrate"],
            "secrets": [_database_url_secret(service, "owner")],
            "depends_on": {"databases": _DONE},
        }
    }


def _streams_job(service: ServiceDescription) -> dict[str, object]:
    """Return the job that creates the service's streams with the release's key."""
    if not service.publishes and all(each.kind == "broadcast" for each in service.subscribes):
        return {}
    return {
        f"{service.name}-streams": {
            "extends": {"file": _COMMON, "service": "release"},
            "image": _image(service),
            "command": ["broker", "apply"],
            "secrets": [_broker_key_secret("release"), _database_url_secret(service, "service")],
            "depends_on": {
                "nats": {"condition": "service_started"},
                **({f"{service.name}-migrate": _DONE} if service.migrations else {}),
            },
        }
    }


def _image(service: ServiceDescription) -> str:
    return f"${{SLIPWAY_REGISTRY:-}}{service.distribution}:${{SLIPWAY_TAG:-dev}}"


def _database_url_secret(service: ServiceDescription, role: str) -> dict[str, str]:
    """Return the mount of a secret; the chassis reads variables from files in /run/secrets."""
    return {"source": f"{service.name}-{role}-database-url", "target": "APP_DATABASE_URL"}


def _broker_key_secret(name: str) -> dict[str, str]:
    return {"source": f"{name}-nkey", "target": "nkey.seed"}


def _secrets(service: ServiceDescription) -> dict[str, object]:
    """Return the secrets of a service: its broker key and the URLs of its database."""
    folder = f"{_SECRETS}/{service.name}"
    roles = ("service", "owner") if service.database else ()
    urls = {
        f"{service.name}-{role}-database-url": {"file": f"{folder}/{role}/APP_DATABASE_URL"}
        for role in roles
    }
    return {"secrets": {f"{service.name}-nkey": {"file": f"{folder}/nkey.seed"}, **urls}}


def _readiness_check(service: ServiceDescription) -> str:
    """Return a line of Python that fails unless the service is ready; it imports sockets only."""
    return (
        f"import socket; c = socket.create_connection(('127.0.0.1', {service.http.port}), 2); "
        rf"c.send(b'GET {service.probes.ready} HTTP/1.0\r\n\r\n'); "
        "raise SystemExit(b' 200 ' not in c.recv(64))"
    )
