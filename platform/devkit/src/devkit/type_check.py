"""Type check of all members at once, each module under the name by which it is imported.

mypy gets the folders in which packages begin; otherwise it confuses the members' `conftest.py`.
"""

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from devkit.contracts.sources import find_proto_roots
from devkit.workspace import Workspace

__all__ = ["check_types", "source_paths", "type_roots"]


def source_paths(workspace: Workspace) -> list[Path]:
    """Return the paths to check: sources of the members, all tests, and the root's conftest."""
    sources = [member.source_root for member in workspace.members if member.packages]
    conftest = workspace.root / "conftest.py"
    return [*([conftest] if conftest.exists() else []), *sources, *workspace.tests]


def type_roots(workspace: Workspace) -> list[Path]:
    """Return the folders from which names are imported: sources, contracts, and parts of tests."""
    roots = [member.source_root for member in workspace.members]
    roots += [root.path for root in find_proto_roots(workspace)]
    roots += [parts for tests in workspace.tests if (parts := tests / "parts").is_dir()]
    return list(dict.fromkeys(roots))


def check_types(workspace: Workspace, paths: Sequence[Path]) -> int:
    """Run mypy over `paths`, by default over everything, and return its exit code."""
    roots = os.pathsep.join(str(path) for path in type_roots(workspace))
    done = subprocess.run(
        [sys.executable, "-m", "mypy", "--explicit-package-bases"]
        + [str(path.resolve()) for path in paths or source_paths(workspace)],
        cwd=workspace.root,
        env=os.environ | {"MYPYPATH": roots},
        check=False,
    )
    return done.returncode
