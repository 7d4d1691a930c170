"""Skaffold rebuilds an image for exactly the files that docker/Dockerfile copies into it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from devkit.rendering.skaffold.configuration import IGNORED
from devkit.workspace import find_workspace

pytestmark = pytest.mark.unit

WORKSPACE = find_workspace(Path(__file__))
DOCKERFILE = (WORKSPACE.root / "docker/Dockerfile").read_text(encoding="utf-8")
SERVICES = [member.path.name for member in WORKSPACE.services]


@pytest.mark.parametrize("service", SERVICES)
def test_an_image_is_built_again_for_its_own_inputs_only(service: str) -> None:
    artifact = artifact_of(f"services/{service}/deploy/skaffold.yaml")
    paths = set(artifact["custom"]["dependencies"]["paths"])

    copied = {*copied_by("dev", service), *copied_by("service", service)}

    assert paths == {*copied, "docker/Dockerfile"}
    assert {path for path in paths if path.startswith("services")} == {f"services/{service}/src"}


def test_a_file_that_docker_does_not_send_is_not_an_input() -> None:
    text = (WORKSPACE.root / "docker/Dockerfile.dockerignore").read_text(encoding="utf-8")
    rules = [line for line in text.splitlines() if line and line[0] not in "#!"]

    # The first rule leaves out everything that no other rule includes.
    assert list(IGNORED) == rules[1:]


@pytest.mark.parametrize("service", SERVICES)
def test_a_changed_file_is_synchronized_to_where_the_image_has_it(service: str) -> None:
    artifact = artifact_of(f"services/{service}/deploy/skaffold.yaml")
    rules = {
        rule["strip"].rstrip("/"): (rule["src"], rule["dest"])
        for rule in artifact["sync"]["manual"]
    }

    assert rules == {
        folder: (f"{folder}/**/*.py", destination)
        for folder, destination in (
            (f"services/{service}/src", "/app"),
            ("contracts", "/opt/shared"),
            ("platform/chassis/src", "/opt/shared"),
        )
    }
    for folder in rules:
        assert (WORKSPACE.root / folder).is_dir()


def artifact_of(file: str) -> Any:
    content = yaml.safe_load((WORKSPACE.root / file).read_text(encoding="utf-8"))
    (artifact,) = content["build"]["artifacts"]
    return artifact


def copied_by(target: str, service: str) -> Iterator[str]:
    """Yield the paths that the stage and its base stages copy out of the workspace."""
    text = DOCKERFILE.replace("\\\n", " ").replace("${SERVICE}", service)
    stages = dict(re.findall(r"^FROM \S+ AS (\S+)$(.*?)(?=^FROM |\Z)", text, re.M | re.S))
    origin = {stage: base for base, stage in re.findall(r"^FROM (\S+) AS (\S+)$", text, re.M)}
    wanted = [target]
    seen: set[str] = set()
    while wanted:
        stage = wanted.pop()
        if stage in seen or stage not in stages:
            continue
        seen.add(stage)
        wanted.append(origin[stage])
        for line in re.findall(r"^COPY (.*)$", stages[stage], re.M):
            options = re.findall(r"--(\S+)=(\S+)", line)
            words = [word for word in line.split() if not word.startswith("--")]
            origins = [value for option, value in options if option == "from"]
            wanted += origins
            if not origins:
                yield from words[:-1]
