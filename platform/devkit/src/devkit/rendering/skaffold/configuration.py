"""What Skaffold's configurations have in common."""

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
"""The workspace, as seen from a service's configuration."""
SHARED_INPUTS = (
    "docker/Dockerfile",
    "docker/__main__.py",
    "requirements-dev.lock",
    "requirements.lock",
    "contracts",
    "platform/chassis/src",
)
"""What every image is made of."""
IGNORED = (
    "**/__pycache__",
    "**/tests",
    "**/*.binpb",
    "**/*.proto",
    "**/*.pyi",
    "**/*.toml",
    "platform/chassis/src/chassis/testing",
)
"""What is no part of an image, as docker/Dockerfile.dockerignore has it."""


def configuration(path: str, additions: str, name: str, content: dict[str, object]) -> Artifact:
    """A configuration of this name, in the schema of the oldest Skaffold that works (2.17)."""
    head = {"apiVersion": "skaffold/v4beta13", "kind": "Config", "metadata": {"name": name}}
    return Artifact(Path(path), yaml_text(additions, head | content))


def image(name: str, context: str, command: str, inputs: Iterable[str]) -> dict[str, object]:
    """An image that is built again when one of its inputs changes, and only then."""
    dependencies = {"paths": [*SHARED_INPUTS, *inputs], "ignore": list(IGNORED)}
    custom = {"buildCommand": build_command(command), "dependencies": dependencies}
    return {"image": name, "context": context, "custom": custom}


def build_command(arguments: str) -> str:
    """What Skaffold runs to build an image; the first time it makes the clone's environment."""
    return f"make -s setup && .venv/bin/slipway images for-skaffold {arguments}"


def profiles(**patches: list[dict[str, object]]) -> dict[str, object]:
    """The same everywhere, with these patches; `development` is what holds without a profile.

    `without_volumes` is for clusters that have no volumes, or none that others than root may use.
    `debug` is where it changes something, and comes by itself with `skaffold debug`.
    """
    content: list[dict[str, object]] = [
        {
            "name": name.replace("_", "-"),
            **({"patches": patches[name]} if name in patches else {}),
        }
        for name in ("development", "production", "kustomize", "without_volumes")
    ]
    if "debug" in patches:
        by_itself = [{"command": "debug"}]
        content.append({"name": "debug", "activation": by_itself, "patches": patches["debug"]})
    return {"profiles": content}
