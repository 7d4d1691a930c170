"""Fixtures for the tests of images: the Docker engine, and images that are built once."""

import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from docker_parts import SavedImage, remove_tagged, running, save

from devkit.errors import DevkitError
from devkit.images.build import Order, Target, build_image
from devkit.images.docker import docker
from devkit.services import ServiceDefinition, read_services
from devkit.workspace import Workspace, find_workspace

WORKSPACE = find_workspace(Path(__file__))


@pytest.fixture(scope="session")
def engine() -> None:
    """Skip of the tests without a Docker engine, with the reason."""
    try:
        client = docker()
    except DevkitError as error:
        pytest.skip(str(error))
    asked = subprocess.run([client, "info"], capture_output=True, encoding="utf-8", check=False)
    if asked.returncode != 0:
        pytest.skip(f"no Docker engine answers: {asked.stderr.strip()}")


@pytest.fixture(scope="session")
def workspace() -> Workspace:
    return WORKSPACE


@pytest.fixture(scope="session")
def tag(engine: None) -> Iterator[str]:
    """A tag of this session; every tag that begins with it is removed at the end."""
    tag = f"test-{uuid4().hex[:12]}"
    yield tag
    remove_tagged(f"*:{tag}*")


@pytest.fixture(scope="session")
def images(tag: str) -> dict[str, str]:
    """The image of each service, by the service's name."""
    return {
        name: build_image(WORKSPACE, member, Order(tag))
        for member in WORKSPACE.services
        for name in member.service_entry_points
    }


@pytest.fixture(scope="session")
def development_image(tag: str) -> str:
    """The image that a developer of inventory has in a cluster."""
    [member] = [one for one in WORKSPACE.services if "inventory" in one.service_entry_points]
    return build_image(WORKSPACE, member, Order(f"{tag}-dev", Target.DEV))


@pytest.fixture(scope="session")
def saved(
    images: dict[str, str], tmp_path_factory: pytest.TempPathFactory
) -> dict[str, SavedImage]:
    """The image of each service in an archive, by the service's name."""
    archive = tmp_path_factory.mktemp("images") / "images.tar"
    by_tag = save(list(images.values()), archive)
    return {name: by_tag[image] for name, image in images.items()}


@pytest.fixture(scope="session")
def definitions() -> dict[str, ServiceDefinition]:
    """The definition of each service by its name."""
    return {service.name: service for service in read_services(WORKSPACE)}


@pytest.fixture(scope="session")
def backing(engine: None, definitions: dict[str, ServiceDefinition]) -> Iterator[str]:
    """Name of the container whose network a broker and a database server share.

    Containers that join this network find both at the usual ports of 127.0.0.1, where the tests
    find them, too. No Docker network is needed, whose address range might conflict on a machine
    with a cluster.
    """
    ports = [f"--publish=127.0.0.1::{service.http_port}" for service in definitions.values()]
    statements = [
        f"CREATE DATABASE {name};" for name, service in definitions.items() if service.has_database
    ]
    with (
        running("nats:2-alpine", *ports, command=("-js",)) as broker,
        running(
            "postgres:18-alpine", f"--network=container:{broker}",
            "--env=POSTGRES_PASSWORD=test", f"--env=STATEMENTS={' '.join(statements)}",
            "--entrypoint=sh",
            command=("-c", 'echo "$STATEMENTS" | tr ";" "\n" | sed "s/$/;/" '
                     ">/docker-entrypoint-initdb.d/databases.sql; "
                     "exec docker-entrypoint.sh postgres"),
        ),
    ):  # fmt: skip
        yield broker
