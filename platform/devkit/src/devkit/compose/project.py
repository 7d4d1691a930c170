"""A project of Docker Compose: docker/compose.yaml under a name of its own."""

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
    """The containers of `docker/compose.yaml` below `root`, with `compose.override.yaml` beside it.

    Args:
        name: of the project, before the names of its containers; that in the file by default.
        environment: variables for the files, on top of this process's own.
    """

    root: Path
    name: str = ""
    environment: Mapping[str, str] = field(default_factory=dict)

    def up(self) -> None:
        """Start everything and return when it is ready. Raises DevkitError with why it is not."""
        wait = ["--wait", f"--wait-timeout={_READY_SECONDS}"]
        services = [name for name, service in self._services().items() if not _ends(service)]
        self.run("up", "--detach", "--quiet-pull", *wait, *services)

    def down(self, *, volumes: bool = False) -> None:
        """Stop everything and remove it; the volumes stay unless `volumes`."""
        self.run("down", "--remove-orphans", *(["--volumes"] if volumes else []))

    def addresses(self) -> dict[str, str]:
        """Host and port on this machine of each published port, by "service port"."""
        return {
            f"{container['Service']} {port['TargetPort']}": f"{port['URL']}:{port['PublishedPort']}"
            for container in self._containers()
            for port in container["Publishers"] or ()
            if port["PublishedPort"]
        }

    def logs(self) -> str:
        """What all containers have written, jobs included."""
        return self.run("logs", "--no-color", "--timestamps")

    def memory(self) -> dict[str, int]:
        """What each service takes now, in bytes, without the page cache; by service."""
        services = {container["ID"][:12]: container["Service"] for container in self._containers()}
        command = [docker(), "stats", "--no-stream", "--format", "{{.ID}} {{.MemUsage}}"]
        found: dict[str, int] = {}
        for line in _output([*command, *services], build_environment()).splitlines():
            id, used, *_ = line.split()
            found[services[id[:12]]] = found.get(services[id[:12]], 0) + _bytes(used)
        return dict(sorted(found.items()))

    def run(self, *arguments: str) -> str:
        """`docker compose` with these arguments: its standard output.

        Raises DevkitError with the end of its standard error.
        """
        return _output([*self._command(), *arguments], {**build_environment(), **self.environment})

    def _command(self) -> list[str]:
        name = ["--project-name", self.name] if self.name else []
        # Compose looks for the override by itself only where it is told no file.
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
    """Standard output of a command of Docker, whose progress is shown where somebody looks."""
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


def _bytes(text: str) -> int:
    """A size as Docker prints it: 83.12MiB."""
    found = re.fullmatch(r"([0-9.]+)([KMGT]i)?B", text)
    assert found is not None, text
    return int(float(found[1]) * 1024 ** ("KMGT".index(found[2][0]) + 1 if found[2] else 0))


def _ends(service: Mapping[str, Any]) -> bool:
    """Whether it is a job: what stays is started again unless it is stopped."""
    return service.get("restart") != "unless-stopped"
