"""A small workspace to break: two services, contracts, and the platform's two members."""

from collections.abc import Callable
from pathlib import Path

import pytest

from devkit.workspace import Workspace

Write = Callable[[str, str], Path]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    """Writes a file into the workspace."""

    def write_file(name: str, text: str) -> Path:
        file = tmp_path / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    return write_file


@pytest.fixture
def workspace(tmp_path: Path, write: Write) -> Workspace:
    """Members as in the real one, without any code."""
    write(
        "pyproject.toml",
        '[tool.uv.workspace]\nmembers = ["contracts", "platform/*", "services/*", "extra"]\n',
    )
    for folder, package in {
        "contracts": "library",
        "platform/chassis/src": "chassis",
        "platform/devkit/src": "devkit",
        "services/lending/src": "lending",
        "services/shelves/src": "shelves",
        "extra/src": "extra",
    }.items():
        write(f"{folder}/{package}/__init__.py", "")
        project = f'[project]\nname = "slipway-{package}"\nversion = "1"\n'
        if folder.startswith("services"):
            project += f'[project.entry-points."slipway.services"]\n{package} = "{package}:x"\n'
        write(f"{folder.removesuffix('/src')}/pyproject.toml", project)
    return Workspace(tmp_path)
