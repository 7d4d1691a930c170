"""Checks of the tools on the PATH and of their versions."""

import json
import re
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass

from devkit.deployment_doctor.commands import CommandFailed, output
from devkit.doctor import Finding

__all__ = ["TOOLS", "Tool", "check_tool", "tool_findings"]

Version = tuple[int, int]


@dataclass(frozen=True)
class Tool:
    """A tool, the command that prints its version, and where to get it.

    `oldest` is the first version that works, (0, 0) if any does.
    """

    name: str
    version_command: tuple[str, ...]
    get: str
    oldest: Version = (0, 0)
    needed: bool = False


TOOLS = (
    Tool(
        "docker",
        ("docker", "version", "--format", "{{.Server.Version}}"),
        "images are built with it: https://docs.docker.com/engine/install, and start the engine",
    ),
    Tool(
        "compose",
        ("docker", "compose", "version", "--short"),
        "https://docs.docker.com/compose/install",
        oldest=(2, 20),  # Older versions do not support `include`.
    ),
    Tool(
        "kubectl",
        ("kubectl", "version", "--client", "-o", "json"),
        "https://kubernetes.io/docs/tasks/tools",
        needed=True,
    ),
    Tool(
        "helm",
        ("helm", "version", "--short"),
        "https://helm.sh/docs/intro/install",
        oldest=(3, 20),
        needed=True,
    ),
    Tool(
        "kustomize",
        ("kustomize", "version"),
        "`kubectl kustomize` does the same; https://kubectl.docs.kubernetes.io/installation",
    ),
    Tool(
        "skaffold",
        ("skaffold", "version"),
        "https://skaffold.dev/docs/install",
        oldest=(2, 17),
    ),
    Tool(
        "istioctl",
        ("istioctl", "version", "--remote=false"),
        "only `istioctl analyze` needs it: https://istio.io/latest/docs/setup/getting-started",
    ),
)


def tool_findings(pool: Executor) -> Iterator[Finding]:
    """Yield a finding for each tool, in the order of `TOOLS`."""
    yield from pool.map(check_tool, TOOLS)


def check_tool(tool: Tool) -> Finding:
    """Check that the tool is installed and new enough.

    A build without a version counts as new enough, and the finding says so.
    """
    try:
        said = output(*tool.version_command)
    except CommandFailed as failure:
        return Finding(tool.name, str(failure), tool.get, tool.needed)
    shown = _version_text(said)
    version = _version(shown)
    if version is None:
        assumed = f"; assuming {_dotted(tool.oldest)} or newer" if any(tool.oldest) else ""
        return Finding(tool.name, f"{shown or 'it'} names no version{assumed}")
    if version < tool.oldest:
        advice = f"{_dotted(tool.oldest)} or newer is needed: {tool.get}"
        return Finding(tool.name, shown, advice, tool.needed)
    return Finding(tool.name, shown)


def _version_text(said: str) -> str:
    if said.startswith("{"):
        return str(json.loads(said)["clientVersion"]["gitVersion"])
    return said.splitlines()[-1].rsplit(": ", 1)[-1] if said else ""


def _version(shown: str) -> Version | None:
    found = re.search(r"(\d+)\.(\d+)", shown)
    return (int(found[1]), int(found[2])) if found else None


def _dotted(version: Version) -> str:
    return ".".join(map(str, version))
