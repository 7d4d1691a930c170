"""Writes what helm renders, and finds what is not what helm would render now."""

from pathlib import Path

from devkit.describing.reading import describe_platform
from devkit.errors import DevkitError
from devkit.rendering.charts import MANIFESTS, rendered_manifests
from devkit.rendering.recorded import record
from devkit.workspace import Workspace

__all__ = ["check", "write"]


def write(workspace: Workspace) -> list[Path]:
    """Write what differs, delete what is rendered from nothing any more; return what was written.

    Raises DevkitError if helm is missing or refuses.
    """
    wanted = dict(rendered_manifests(describe_platform(workspace)))
    changed = [file for file, text in wanted.items() if _read(file) != text]
    for file in changed:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(wanted[file], encoding="utf-8")
    for file in _outputs(workspace) - wanted.keys():
        file.unlink()
    record(workspace.root, MANIFESTS)
    return changed


def check(workspace: Workspace) -> None:
    """Raises DevkitError naming each file that helm would render differently now."""
    wanted = dict(rendered_manifests(describe_platform(workspace)))
    wrong = {file for file, text in wanted.items() if _read(file) != text}
    wrong |= _outputs(workspace) - wanted.keys()
    if wrong:
        names = sorted(str(file.relative_to(workspace.root)) for file in wrong)
        lines = [f"Not what the charts render; run `{MANIFESTS.command}`:", *names]
        raise DevkitError("\n  ".join(lines))


def _outputs(workspace: Workspace) -> set[Path]:
    return {file for glob in MANIFESTS.outputs for file in workspace.root.glob(glob)}


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""
