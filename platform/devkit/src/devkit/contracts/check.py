"""Checks of the contracts: style, compatibility with the released ones, generated code."""

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
    """Raise DevkitError with every problem, and with what to do about each kind of problem."""
    sections = []
    if style := lint_problems(workspace):
        sections.append(("The contracts' style (buf lint); change the .proto files:", style))
    sections += _release_problems(workspace)
    if drifted := drift(workspace):
        sections.append(
            ("The generated code differs from the .proto files; run `make contracts`:", drifted)
        )
    if sections:
        raise DevkitError(
            "\n".join("\n".join([title, *(f"  {line}" for line in lines)])
                      for title, lines in sections)
        )  # fmt: skip


def release(workspace: Workspace) -> Path:
    """Release the contracts: write the baseline and return its file.

    Raises:
        DevkitError: the contracts are incompatible with those released before.
    """
    if problems := breaking_problems(workspace):
        raise DevkitError(
            "\n".join(["The contracts break released ones; undo these changes first:", *problems])
        )
    file = baseline_file(workspace)
    # Source info is left out, so that a new comment or line does not change the file.
    file.write_bytes(build_image(workspace, "--exclude-source-info"))
    return file


def breaking_problems(workspace: Workspace) -> list[str]:
    """Return a line for each incompatibility with the released contracts."""
    file = baseline_file(workspace)
    image = build_image(workspace)
    problems = list(wrong_keys(parse_image(image)))
    # A new platform begins by deleting the sample's contracts, on which no service relies then.
    if not file.exists() or not has_contracts(workspace):
        return problems
    with tempfile.TemporaryDirectory() as folder:
        current = Path(folder) / "image.binpb"
        current.write_bytes(image)
        # buf runs in the workspace. An absolute path may contain a #, which buf reads as options.
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
    """Return a line for each generated file that is missing, differs, or has no .proto file."""
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
        problems += [f"{place / name} has no .proto file" for name in left_over]
    return problems


def _release_problems(workspace: Workspace) -> list[tuple[str, list[str]]]:
    """Return how the contracts break the released ones, if they do."""
    if not has_contracts(workspace):
        return []
    file = baseline_file(workspace)
    if not file.exists():
        what = f"{file.relative_to(workspace.root)} is missing"
        return [("There is no image of the released contracts; restore it, or make the first one"
                 " with `make contracts-release`:", [what])]  # fmt: skip
    if problems := breaking_problems(workspace):
        return [
            (
                "The contracts break released ones, on which other services rely; undo the change,"
                " or add a package v2:",
                problems,
            )
        ]
    return []
