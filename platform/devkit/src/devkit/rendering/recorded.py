"""Files that a tool such as helm renders, held by the lint without that tool.

What renders them writes the hashes of its inputs and outputs into a file beside them: `record`.
The lint compares those hashes with what lies there: `recorded_drift`.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Recorded", "inputs_hash", "left_over", "record", "recorded_drift"]


@dataclass(frozen=True)
class Recorded:
    """Files rendered from others.

    Args:
        file: where the hashes are kept, relative to the root, as are all paths here.
        inputs: globs of what the files are rendered from. Where the first finds nothing, as after
            the chart was taken out, nothing is rendered.
        outputs: globs of the rendered files, and of no other.
        command: what renders them again.
    """

    file: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    command: str


def inputs_hash(root: Path, globs: Iterable[str]) -> str:
    """SHA-256 over the names and contents of the files that the globs find below the root."""
    digest = hashlib.sha256()
    for file in _found(root, globs):
        for part in (file.relative_to(root).as_posix().encode(), file.read_bytes()):
            digest.update(len(part).to_bytes(8, "big"))
            digest.update(part)
    return digest.hexdigest()


def record(root: Path, rendered: Recorded) -> None:
    """Write the hashes of inputs and outputs as they are now."""
    (root / rendered.file).write_text(_text(root, rendered), encoding="utf-8")


def recorded_drift(root: Path, rendered: Recorded) -> Iterator[str]:
    """What is not as it was when the files were rendered last, a line for each."""
    file = root / rendered.file
    if not _found(root, rendered.inputs[:1]):
        return
    if not file.exists():
        yield f"{rendered.file} is missing; run `{rendered.command}`"
        return
    was = file.read_text(encoding="utf-8").splitlines()
    now = _text(root, rendered).splitlines()
    if was[:1] != now[:1]:
        what = ", ".join(rendered.inputs)
        yield f"{rendered.file}: its inputs have changed ({what}); run `{rendered.command}`"
    elif was != now:
        what = ", ".join(rendered.outputs)
        yield f"{rendered.file}: a rendered file was changed ({what}); run `{rendered.command}`"


def left_over(root: Path, rendered: Recorded) -> Iterator[Path]:
    """The files that are there, for a platform that has no service to render them for."""
    yield from _found(root, (rendered.file, *rendered.outputs))


def _text(root: Path, rendered: Recorded) -> str:
    inputs, outputs = inputs_hash(root, rendered.inputs), inputs_hash(root, rendered.outputs)
    return f"inputs  sha256:{inputs}\noutputs sha256:{outputs}\n"


def _found(root: Path, globs: Iterable[str]) -> list[Path]:
    found = {file for pattern in globs for file in root.glob(pattern) if file.is_file()}
    return sorted(found)
