"""Writes the derived files, and finds those that are not what would be written now."""

from collections.abc import Iterator
from pathlib import Path

from devkit.describing.reading import describe_platform
from devkit.errors import DevkitError
from devkit.rendering.artifact import MARK
from devkit.rendering.kinds import KINDS, RECORDED
from devkit.rendering.recorded import left_over, recorded_drift
from devkit.workspace import Workspace

__all__ = ["drift", "render"]

# Where derived files may lie, and how their names end.
_PLACES = (
    "*/deploy/**/*",
    "services/*/deploy/**/*",
    "deploy/**/*",
    "docker/**/*",
    "docs/**/*",
    "*",
)
_SUFFIXES = (".conf", ".json", ".md", ".yaml", ".yml")


def render(workspace: Workspace) -> list[Path]:
    """Writes what differs and deletes what nothing derives any more; returns both.

    Raises DevkitError where a file that somebody wrote by hand is in the place of a derived one.
    """
    wanted = _wanted(workspace)
    foreign = [file for file in wanted if file.exists() and not _is_derived(file)]
    if foreign:
        raise DevkitError(
            "These files are not marked as derived. Move them, or delete them to have them derived:"
            + "".join(f"\n  {file.relative_to(workspace.root)}" for file in foreign)
        )
    changed = []
    for file in _left_over(workspace, wanted):
        file.unlink()
        changed.append(file)
    for file, text in wanted.items():
        if not file.exists() or _read(file) != text:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(text.encode())
            changed.append(file)
    return changed


def drift(workspace: Workspace) -> list[str]:
    """Each derived file that is missing, left over, or not what would be written now."""
    wanted = _wanted(workspace)
    problems = []
    for file, text in sorted(wanted.items()):
        if not file.exists():
            problems.append(f"{file.relative_to(workspace.root)} is missing")
        elif _read(file) != text:
            problems.append(f"{file.relative_to(workspace.root)} differs")
    for file in _left_over(workspace, wanted):
        problems.append(f"{file.relative_to(workspace.root)} is derived from nothing any more")
    if workspace.services:
        for rendered in RECORDED:
            problems += recorded_drift(workspace.root, rendered)
    return problems


def _wanted(workspace: Workspace) -> dict[Path, str]:
    platform = describe_platform(workspace)
    artifacts = [artifact for kind in KINDS for artifact in kind(platform)]
    wanted = {workspace.root / artifact.path: artifact.text for artifact in artifacts}
    assert len(wanted) == len(artifacts), "two kinds derive one file"
    return wanted


def _left_over(workspace: Workspace, wanted: dict[Path, str]) -> list[Path]:
    found = set(_derived_files(workspace.root))
    if not workspace.services:
        found |= {file for each in RECORDED for file in left_over(workspace.root, each)}
    return sorted(found - wanted.keys())


def _derived_files(root: Path) -> Iterator[Path]:
    for place in _PLACES:
        for file in root.glob(place):
            if file.suffix in _SUFFIXES and file.is_file() and _is_derived(file):
                yield file


def _is_derived(file: Path) -> bool:
    """Whether it has the header: in its first line, in its second where the first opens JSON."""
    return any(MARK in line for line in _read(file).split("\n", 2)[:2])


def _read(file: Path) -> str:
    return file.read_bytes().decode(errors="replace")
