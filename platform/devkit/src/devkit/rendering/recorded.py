"""Files that a tool such as helm renders, checked by the lint without that tool.

`record` writes hashes of the inputs and outputs into a file after rendering; `recorded_drift`
compares these hashes with the files.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Recorded", "inputs_hash", "left_over", "record", "recorded_drift"]


@dataclass(frozen=True)
class Recorded:
    """Files rendered from other files.

    Args:
        file: the file with the hashes. All paths here are relative to the workspace's root.
        inputs: globs of the inputs. If the first finds no file, for example because the chart was
            deleted, nothing is rendered.
        outputs: globs of the rendered files only.
        command: the command that renders the files.
    """

    file: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    command: str


def inputs_hash(root: Path, globs: Iterable[str]) -> str:
    """Return the SHA-256 of the names and contents of the files that the globs find."""
    digest = hashlib.sha256()
    for file in _matching_files(root, globs):
        for part in (file.relative_to(root).as_posix().encode(), file.read_bytes()):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()


def record(root: Path, rendered: Recorded) -> None:
    """Write the hashes of inputs and outputs as they are now."""
    (root / rendered.file).write_text(_hashes(root, rendered), encoding="utf-8")


def recorded_drift(root: Path, rendered: Recorded) -> Iterator[str]:
    """Yield a line for each difference from the last rendering."""
    file = root / rendered.file
    if not _matching_files(root, rendered.inputs[:1]):
        return
    if not file.exists():
        yield f"{rendered.file} is missing; run `{rendered.command}`"
        return
    recorded = file.read_text(encoding="utf-8").splitlines()
    now = _hashes(root, rendered).splitlines()
    if recorded[:1] != now[:1]:
        what = ", ".join(rendered.inputs)
        yield f"{rendered.file}: its inputs have changed ({what}); run `{rendered.command}`"
    elif recorded != now:
        what = ", ".join(rendered.outputs)
        yield f"{rendered.file}: a rendered file was changed ({what}); run `{rendered.command}`"


def left_over(root: Path, rendered: Recorded) -> Iterator[Path]:
    """Yield the rendered files that exist, which a platform without services must delete."""
    yield from _matching_files(root, (rendered.file, *rendered.outputs))


def _hashes(root: Path, rendered: Recorded) -> str:
    inputs, outputs = inputs_hash(root, rendered.inputs), inputs_hash(root, rendered.outputs)
    return f"inputs  sha256:{inputs}\noutputs sha256:{outputs}\n"


def _matching_files(root: Path, globs: Iterable[str]) -> list[Path]:
    found = {file for pattern in globs for file in root.glob(pattern) if file.is_file()}
    return sorted(found)
