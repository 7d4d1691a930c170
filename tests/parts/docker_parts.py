"""Docker for tests: images with their layers, and containers that are removed afterwards."""

import gzip
import json
import subprocess
import tarfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

from devkit.images.docker import docker

__all__ = [
    "SavedImage",
    "docker_output",
    "inspect",
    "random_name",
    "remove_tagged",
    "running",
    "save",
    "wait_for",
    "written_by",
]

_GZIP = b"\x1f\x8b"
_PATIENCE_SECONDS = 90.0


def docker_output(*arguments: str, stdin: bytes | None = None) -> str:
    """Return the output of a docker command. Raises AssertionError with all output if it fails."""
    done = subprocess.run([docker(), *arguments], input=stdin, capture_output=True, check=False)
    printed = done.stdout.decode(errors="replace")
    complaint = done.stderr.decode(errors="replace")
    assert done.returncode == 0, f"docker {' '.join(arguments)}:\n{printed}{complaint}"
    return printed


def inspect(thing: str) -> dict[str, Any]:
    """Return docker's description of an image or a container."""
    [known] = json.loads(docker_output("inspect", thing))
    return dict(known)


def random_name() -> str:
    """Return a unique name for a container or a network."""
    return f"slipway-test-{uuid4().hex[:12]}"


def remove_tagged(pattern: str) -> None:
    """Remove the tags that match a pattern, as in `*:test-1*`; an image goes with its last tag.

    Images of the same content share one id: removing by id would also take the tags of another
    test session, or fail while that session runs a container.
    """
    tags = docker_output(
        "images", "--format={{.Repository}}:{{.Tag}}", f"--filter=reference={pattern}"
    )
    if tags:
        docker_output("rmi", *tags.split())


@contextmanager
def running(image: str, *options: str, command: tuple[str, ...] = ()) -> Iterator[str]:
    """Run a container of an image, yield its name, and remove it at the end."""
    name = random_name()
    try:
        docker_output("run", "--detach", "--name", name, *options, image, *command)
        yield name
    finally:
        docker_output("rm", "--force", "--volumes", name)


def wait_for(condition: Callable[[], bool], container: str) -> None:
    """Wait until `condition` holds; fail with the container's output if it never does."""
    end = time.monotonic() + _PATIENCE_SECONDS
    while not condition():
        if time.monotonic() > end:
            raise AssertionError(
                f"{container} did not meet the condition; it wrote:\n{written_by(container)}"
            )
        time.sleep(0.1)


def written_by(container: str) -> str:
    """Return everything that a container has written to both of its outputs."""
    log = subprocess.run(
        [docker(), "logs", container],
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, encoding="utf-8", check=True,
    )  # fmt: skip
    return log.stdout


@dataclass(frozen=True)
class SavedImage:
    """An image in an archive that `docker save` wrote."""

    archive: Path
    layers: tuple[str, ...]

    def files(self, layer: str) -> list[str]:
        """The paths of a layer's files, as in the container but without the first slash."""
        with (
            tarfile.open(self.archive) as archive,
            tarfile.open(fileobj=archive.extractfile(layer)) as content,
        ):
            return [member.name for member in content if not member.isdir()]

    def compressed_bytes(self, layer: str) -> int:
        """The size of a layer as a registry would keep it."""
        with tarfile.open(self.archive) as archive:
            member = archive.extractfile(layer)
            assert member is not None
            content = member.read()
        return len(content if content.startswith(_GZIP) else gzip.compress(content, 6))


def save(images: list[str], archive: Path) -> dict[str, SavedImage]:
    """Each image in one archive; layers that several have are in it once."""
    docker_output("save", "--output", str(archive), *images)
    with tarfile.open(archive) as content:
        manifest = content.extractfile("manifest.json")
        assert manifest is not None
        entries = json.load(manifest)
    return {tag: SavedImage(archive, tuple(entry["Layers"]))
            for entry in entries for tag in entry["RepoTags"]}  # fmt: skip
