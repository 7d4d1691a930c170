"""Folders of .proto files, found by the files' `package` lines, so that no list of them exists."""

import re
from dataclasses import dataclass
from pathlib import Path

from devkit.errors import DevkitError
from devkit.workspace import Workspace

__all__ = ["ProtoRoot", "find_proto_roots"]

_PACKAGE = re.compile(r"^\s*package\s+([\w.]+)\s*;", re.MULTILINE)


@dataclass(frozen=True)
class ProtoRoot:
    """A folder from which import paths of .proto files start, and the files below it."""

    path: Path
    files: tuple[str, ...]


def find_proto_roots(workspace: Workspace) -> tuple[ProtoRoot, ...]:
    """Return every root folder of contracts in the members, with its files sorted.

    Raises:
        DevkitError: the folder of a file does not match its package.
    """
    found: dict[Path, list[str]] = {}
    for member in workspace.members:
        for file in sorted(member.path.rglob("*.proto")):
            root = _root_of(file)
            found.setdefault(root, []).append(file.relative_to(root).as_posix())
    return tuple(ProtoRoot(root, tuple(files)) for root, files in found.items())


def _root_of(file: Path) -> Path:
    """Return the folder from which a contract's package path begins."""
    match = _PACKAGE.search(file.read_text(encoding="utf-8"))
    if match is None:
        raise DevkitError(f"{file} has no `package` line. Add one that names its folder.")
    parts = tuple(match[1].split("."))
    if file.parent.parts[-len(parts) :] != parts:
        raise DevkitError(
            f"{file} is package {match[1]}, so it belongs in a folder {'/'.join(parts)}."
            " Move it there."
        )
    return file.parents[len(parts)]
