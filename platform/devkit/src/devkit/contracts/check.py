"""Everything that must hold before a change of the contracts lands."""

import tempfile
from pathlib import Path

from devkit.contracts.generate import generated_files, render
from devkit.contracts.image import (
    baseline_file,
    build_image,
    has_contracts,
    lint_problems,
    parse_image,
    run_buf,
)
from devkit.contracts.partition_keys import changed_keys, wrong_keys
from devkit.contracts.reading_methods import no_longer_reading
from devkit.contracts.sources import find_proto_roots
from devkit.errors import DevkitError
from devkit.workspace import Workspace

__all__ = ["breaking_problems", "check", "drift", "release"]


def check(workspace: Workspace) -> None:
    """Raises DevkitError with every problem and what to do about each kind."""
    sections = []
    if style := lint_problems(workspace):
        sections.append(("The contracts' style (buf lint); change the .proto files:", style))
    sections += _against_release(workspace)
    if drifted := drift(workspace):
        sections.append(
            ("The generated code is not what the .proto files say; run `make contracts`:", drifted)
        )
    if sections:
        raise DevkitError(
            "\n".join("\n".join([title, *(f"  {line}" for line in lines)])
                      for title, lines in sections)
        )  # fmt: skip


def release(workspace: Workspace) -> Path:
    """Takes the contracts as released: writes the baseline and returns its file.

    Raises DevkitError if they break what was released before.
    """
    if problems := breaking_problems(workspace):
        raise DevkitError("\n".join(["Released contracts are broken; undo that first:", *problems]))
    file = baseline_file(workspace)
    # Without comments and positions, so that only a change of meaning changes it.
    file.write_bytes(build_image(workspace, "--exclude-source-info"))
    return file


def breaking_problems(workspace: Workspace) -> list[str]:
    """What the contracts break of those that have been released."""
    file = baseline_file(workspace)
    image = build_image(workspace)
    problems = list(wrong_keys(parse_image(image)))
    # With all contracts gone nobody is left to rely on them: a new platform begins.
    if not file.exists() or not has_contracts(workspace):
        return problems
    with tempfile.TemporaryDirectory() as folder:
        current = Path(folder) / "image.binpb"
        current.write_bytes(image)
        # Relative to the workspace: buf reads a # in a path as the start of options.
        released = file.relative_to(workspace.root)
        against = ("--against", str(released), "--exclude-imports")
        code, said = run_buf(workspace, "breaking", str(current), *against)
    if code != 0:
        problems += said.splitlines()
    now, then = parse_image(image), parse_image(file.read_bytes())
    problems += changed_keys(now, then)
    problems += no_longer_reading(now, then)
    return problems


def drift(workspace: Workspace) -> list[str]:
    """Every generated file that is missing, left over, or not what would be generated now."""
    roots = find_proto_roots(workspace)
    problems = []
    for root, files in render(roots).items():
        place = root.relative_to(workspace.root)
        for name, content in sorted(files.items()):
            file = root / name
            if not file.exists():
                problems.append(f"{place / name} is missing")
            elif file.read_bytes() != content:
                problems.append(f"{place / name} differs")
        left_over = sorted(generated_files(root) - files.keys())
        problems += [f"{place / name} has no .proto any more" for name in left_over]
    return problems


def _against_release(workspace: Workspace) -> list[tuple[str, list[str]]]:
    if not has_contracts(workspace):
        return []
    file = baseline_file(workspace)
    if not file.exists():
        what = f"{file.relative_to(workspace.root)} is missing"
        return [("There is no image of the released contracts; get it back, or make the first one"
                 " with `make contracts-release`:", [what])]  # fmt: skip
    if problems := breaking_problems(workspace):
        return [
            (
                "Released contracts are broken (others rely on them); undo it, or make a v2 beside"
                " the old one:",
                problems,
            )
        ]
    return []
