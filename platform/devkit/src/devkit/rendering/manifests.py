"""The manifests that helm renders: written, or compared with what helm would render now."""

from pathlib import Path

from devkit.describing.reading import describe_platform
from devkit.errors import DevkitError
from devkit.rendering.charts import MANIFESTS, rendered_manifests
from devkit.rendering.recorded import record
from devkit.workspace import Workspace

__all__ = ["check", "write"]


def write(workspace: Workspace) -> list[Path]:
    """Write manifests that differ and delete others; return the written files.

    Raises:
        DevkitError: helm is missing or fails.
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
    """Raise DevkitError naming each file that helm would render differently now."""
    wanted = dict(rendered_manifests(describe_platform(workspace)))
    wrong = {file for file, text in wanted.items() if _read(file) != text}
    wrong |= _outputs(workspace) - wanted.keys()
    if wrong:
        names = sorted(str(file.relative_to(workspace.root)) for file in wrong)
        lines = [f"Manifests differ from the charts; run `{MANIFESTS.command}`:", *names]
        raise DevkitError("\n  ".join(lines))


def _outputs(workspace: Workspace) -> set[Path]:
    return {file for glob in MANIFESTS.outputs for file in workspace.root.glob(glob)}


def _read(file: Path) -> str:
    return file.read_text(encoding="utf-8") if file.exists() else ""
