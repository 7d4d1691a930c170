"""The derived files: written, or compared with what would be written now."""

from collections.abc import Iterator
from pathlib import Path

from devkit.describing.description import PlatformDescription
from devkit.describing.reading import describe_platform
from devkit.errors import DevkitError
from devkit.rendering import own_values
from devkit.rendering.artifact import MARK
from devkit.rendering.kinds import KINDS, RECORDED
from devkit.rendering.recorded import left_over, recorded_drift
from devkit.workspace import Workspace

__all__ = ["drift", "render"]

# The places and name suffixes of derived files.
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
    """Write files that differ, delete files that are not derived any longer; return both.

    Each service's values.yaml is created first, because the umbrella chart includes it.

    Raises:
        DevkitError: a hand-written file is in the place of a derived one.
    """
    platform = describe_platform(workspace)
    changed = [
        _write(workspace.root / artifact.path, artifact.text)
        for artifact in own_values.missing(platform)
    ]
    wanted = _wanted(platform)
    foreign = [file for file in wanted if file.exists() and not _is_derived(file)]
    if foreign:
        raise DevkitError(
            "These files are not marked as derived. Move or delete them, so that they can be"
            " derived:" + "".join(f"\n  {file.relative_to(workspace.root)}" for file in foreign)
        )
    for file in _left_over(workspace, wanted):
        file.unlink()
        changed.append(file)
    for file, text in wanted.items():
        if not file.exists() or _read(file) != text:
            changed.append(_write(file, text))
    return changed


def drift(workspace: Workspace) -> list[str]:
    """Return a line for each derived file that is missing, differs, or is left over."""
    platform = describe_platform(workspace)
    wanted = _wanted(platform)
    problems = [f"{begun.path.as_posix()} is missing" for begun in own_values.missing(platform)]
    for file, text in sorted(wanted.items()):
        if not file.exists():
            problems.append(f"{file.relative_to(workspace.root)} is missing")
        elif _read(file) != text:
            problems.append(f"{file.relative_to(workspace.root)} differs")
    for file in _left_over(workspace, wanted):
        problems.append(f"{file.relative_to(workspace.root)} is left over from a deleted service")
    if workspace.services:
        for rendered in RECORDED:
            problems += recorded_drift(workspace.root, rendered)
    return problems


def _wanted(platform: PlatformDescription) -> dict[Path, str]:
    artifacts = [artifact for kind in KINDS for artifact in kind(platform)]
    wanted = {platform.root / artifact.path: artifact.text for artifact in artifacts}
    assert len(wanted) == len(artifacts), "two kinds derive one file"
    return wanted


def _write(file: Path, text: str) -> Path:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())
    return file


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
    """Return whether a file has the header in its first line, or second line in JSON."""
    return any(MARK in line for line in _read(file).split("\n", 2)[:2])


def _read(file: Path) -> str:
    return file.read_bytes().decode(errors="replace")
