"""Common parts of Skaffold's configurations."""

from collections.abc import Iterable
from pathlib import Path

from devkit.rendering.artifact import Artifact, yaml_text

__all__ = [
    "DEMO",
    "IGNORED",
    "ROOT",
    "SHARED_INPUTS",
    "build_command",
    "configuration",
    "image",
    "profiles",
]

DEMO = "demo"
"""The folder of the demo, and the label `app` of its pods."""
ROOT = "../../.."
"""The workspace's path, relative to a service's configuration."""
SHARED_INPUTS = (
    "docker/Dockerfile",
    "docker/__main__.py",
    "requirements-dev.lock",
    "requirements.lock",
    "contracts",
    "platform/chassis/src",
)
"""The inputs of every image."""
IGNORED = (
    "**/__pycache__",
    "**/tests",
    "**/*.binpb",
    "**/*.proto",
    "**/*.pyi",
    "**/*.toml",
    "platform/chassis/src/chassis/testing",
)
"""Files that are not part of an image, as in docker/Dockerfile.dockerignore."""


def configuration(path: str, additions: str, name: str, content: dict[str, object]) -> Artifact:
    """Return a configuration in the schema of the oldest Skaffold that works (2.17)."""
    head = {"apiVersion": "skaffold/v4beta13", "kind": "Config", "metadata": {"name": name}}
    return Artifact(Path(path), yaml_text(additions, head | content))


def image(name: str, context: str, command: str, inputs: Iterable[str]) -> dict[str, object]:
    """Return an image that is built again only if one of its inputs changes."""
    dependencies = {"paths": [*SHARED_INPUTS, *inputs], "ignore": list(IGNORED)}
    custom = {"buildCommand": build_command(command), "dependencies": dependencies}
    return {"image": name, "context": context, "custom": custom}


def build_command(arguments: str) -> str:
    """Return the command that builds an image, and makes the clone's environment if necessary."""
    return f"make -s setup && .venv/bin/slipway images for-skaffold {arguments}"


def profiles(**patches: list[dict[str, object]]) -> dict[str, object]:
    """Return the profiles of every configuration, with these patches by name.

    `development` is the same as no profile. `without_volumes` is for clusters without volumes, or
    with volumes that only root can use. `debug` exists only with patches; `skaffold debug`
    activates it.
    """
    content: list[dict[str, object]] = [
        {
            "name": name.replace("_", "-"),
            **({"patches": patches[name]} if name in patches else {}),
        }
        for name in ("development", "production", "kustomize", "without_volumes")
    ]
    if "debug" in patches:
        activation = [{"command": "debug"}]
        content.append({"name": "debug", "activation": activation, "patches": patches["debug"]})
    return {"profiles": content}
