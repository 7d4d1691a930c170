"""The committed locks fit the members, and services get the versions that are tested."""

import re
from collections.abc import Iterable
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from devkit.workspace import Member, Workspace, find_workspace

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def real() -> Workspace:
    return find_workspace(Path(__file__))


def pins(workspace: Workspace, name: str) -> dict[str, set[str]]:
    """Return the locked versions by package; several if markers select one."""
    found: dict[str, set[str]] = {}
    text = (workspace.root / name).read_text(encoding="utf-8")
    for package, version in re.findall(r"^([\w.-]+)==(\S+)", text, re.MULTILINE):
        found.setdefault(normal(package), set()).add(version)
    return found


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def declared(members: Iterable[Member]) -> list[Requirement]:
    return [
        Requirement(line)
        for member in members
        for line in member.pyproject["project"]["dependencies"]
    ]


def unmet(workspace: Workspace, requirements: Iterable[Requirement], name: str) -> list[str]:
    """Return the requirements that a lock doesn't meet, except those on members."""
    locked = pins(workspace, name)
    members = {normal(member.name) for member in workspace.members}
    return [
        str(requirement)
        for requirement in requirements
        if normal(requirement.name) not in members
        and not any(
            requirement.specifier.contains(version, prereleases=True)
            for version in locked.get(normal(requirement.name), ())
        )
    ]


def test_everything_that_members_and_their_developers_need_is_locked(real: Workspace) -> None:
    group = [Requirement(line) for line in real.pyproject["dependency-groups"]["dev"]]

    needed = [*declared(real.members), *group]

    assert unmet(real, needed, "requirements-dev.lock") == [], "run `make locks`"


def test_what_services_run_on_is_locked_apart_in_the_same_versions(real: Workspace) -> None:
    needed = declared([real.chassis, *real.services])
    everything = pins(real, "requirements-dev.lock")
    runtime = pins(real, "requirements.lock")

    assert unmet(real, needed, "requirements.lock") == [], "run `make locks`"
    assert runtime.items() <= everything.items()
    assert not {"pytest", "mypy", "typer", "grpcio-tools"} & runtime.keys()


def test_envoy_is_locked_apart_because_only_a_canary_needs_it(real: Workspace) -> None:
    group = [Requirement(line) for line in real.pyproject["dependency-groups"]["envoy"]]

    assert unmet(real, group, "requirements-envoy.lock") == [], "run `make locks`"
    assert (
        not pins(real, "requirements-envoy.lock").keys()
        & pins(real, "requirements-dev.lock").keys()
    )


def test_the_benchmark_compares_with_the_versions_that_the_platform_uses(real: Workspace) -> None:
    group = [Requirement(line) for line in real.pyproject["dependency-groups"]["bench"]]
    everything = pins(real, "requirements-dev.lock")
    compared = pins(real, "requirements-bench.lock")

    assert unmet(real, group, "requirements-bench.lock") == [], "run `make locks`"
    shared = compared.keys() & everything.keys()
    assert {name: compared[name] for name in shared} == {name: everything[name] for name in shared}
    assert not {"faststream", "asyncpg"} & everything.keys()


@pytest.mark.parametrize(
    "name",
    [
        "requirements.lock",
        "requirements-dev.lock",
        "requirements-envoy.lock",
        "requirements-bench.lock",
    ],
)
def test_a_lock_names_hashes_and_no_address(real: Workspace, name: str) -> None:
    text = (real.root / name).read_text(encoding="utf-8")

    entries = re.split(r"\n(?=\S)", text.strip())
    assert all("--hash=sha256:" in entry for entry in entries)
    assert "://" not in text
    assert "--index-url" not in text
    assert "slipway-" not in text
