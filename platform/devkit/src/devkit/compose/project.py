"""A project of Docker Compose made from docker/compose.yaml."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devkit.errors import DevkitError
from devkit.images.docker import build_environment, docker

__all__ = ["Project"]

_READY_SECONDS = 600
_TAIL_LINES = 40


@dataclass(frozen=True)
class Project:
    """The containers of a workspace.

    Args:
        root: the workspace's folder. `docker/compose.yaml` is read, and `compose.override.yaml`
            next to it if there is one.
        name: the project's name, which prefixes container names; by default that in the file.
        environment: variables for the files, added to those of this process.
    """

    root: Path
    name: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def up(self) -> None:
        """Start every service and return when all are ready. Raises DevkitError with the reason."""
        wait = ["--wait", f"--wait-timeout={_READY_SECONDS}"]
        services = [name for name, service in self._services().items() if not _is_job(service)]
        self.run("up", "--detach", "--quiet-pull", *wait, *services)

    def down(self, *, volumes: bool = False) -> None:
        """Stop and remove all containers; with `volumes`, delete the volumes too."""
        self.run("down", "--remove-orphans", *(["--volumes"] if volumes else []))

    def addresses(self) -> dict[str, str]:
        """Return the address on this machine of each published port, by "service port"."""
        return {
            f"{container['Service']} {port['TargetPort']}": f"{port['URL']}:{port['PublishedPort']}"
            for container in self._containers()
            for port in container["Publishers"] or ()
            if port["PublishedPort"]
        }

    def logs(self) -> str:
        """Return the output of all containers, jobs included."""
        return self.run("logs", "--no-color", "--timestamps")

    def memory(self) -> dict[str, int]:
        """Return the memory of each service in bytes, without the page cache."""
        services = {container["ID"][:12]: container["Service"] for container in self._containers()}
        command = [docker(), "stats", "--no-stream", "--format", "{{.ID}} {{.MemUsage}}"]
        found: dict[str, int] = {}
        for line in _output([*command, *services], build_environment()).splitlines():
            id, used, *_ = line.split()
            found[services[id[:12]]] = found.get(services[id[:12]], 0) + _parse_size(used)
        return dict(sorted(found.items()))

    def run(self, *arguments: str) -> str:
        """Run `docker compose` with these arguments and return its standard output.

        Raises:
            DevkitError: it failed; the message contains the end of its standard error.
        """
        return _output([*self._command(), *arguments], {**build_environment(), **self.environment})

    def _command(self) -> list[str]:
        name = ["--project-name", self.name] if self.name else []
        # Compose finds the override by itself only if no --file is given.
        folder = self.root / "docker"
        override = folder / "compose.override.yaml"
        files = [folder / "compose.yaml", *([override] if override.exists() else [])]
        return [docker(), "compose", *name, *(f"--file={file}" for file in files)]

    def _services(self) -> dict[str, Any]:
        services: dict[str, Any] = json.loads(self.run("config", "--format=json"))["services"]
        return services

    def _containers(self) -> Iterator[dict[str, Any]]:
        for line in self.run("ps", "--format=json").splitlines():
            yield json.loads(line)


def _output(command: Sequence[str], environment: Mapping[str, str]) -> str:
    """Return a command's standard output; show its progress if standard error is a terminal."""
    shown = sys.stderr.isatty()
    done = subprocess.run(
        command,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=None if shown else subprocess.PIPE,
        encoding="utf-8", errors="replace",
        check=False,
    )  # fmt: skip
    if done.returncode != 0:
        tail = [] if shown else done.stderr.splitlines()[-_TAIL_LINES:]
        raise DevkitError("\n".join([f"{' '.join(command)} failed:", *tail]))
    return done.stdout


def _parse_size(text: str) -> int:
    """Parse a size as Docker prints it, for example 83.12MiB."""
    found = re.fullmatch(r"([0-9.]+)([KMGT]i)?B", text)
    assert found is not None, text
    return int(float(found[1]) * 1024 ** ("KMGT".index(found[2][0]) + 1 if found[2] else 0))


def _is_job(service: Mapping[str, Any]) -> bool:
    """Return whether the container is meant to end: services restart unless stopped."""
    return service.get("restart") != "unless-stopped"
