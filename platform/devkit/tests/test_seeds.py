"""The members' data are loaded once into a new platform."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from devkit.platform import Platform, PlatformOptions
from devkit.seeds import plant_seeds
from devkit.workspace import Workspace

pytestmark = pytest.mark.unit

Write = Callable[[str, str], Path]


def install(write: Write, distribution: str, module: str, body: str) -> None:
    """A function that installs a distribution with a seed."""
    folder = f"site/{distribution.replace('-', '_')}-1.dist-info"
    write(f"{folder}/METADATA", f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1\n")
    write(f"{folder}/entry_points.txt", f"[slipway.seeds]\n{module} = {module}:seed\n")
    write(f"site/{module}.py", f"async def seed(platform):\n    {body}\n")


@pytest.fixture
def platform(workspace: Workspace, write: Write, monkeypatch: pytest.MonkeyPatch) -> Platform:
    (workspace.root / ".slipway").mkdir()
    write("site/empty.py", "")
    monkeypatch.setattr(sys, "path", [str(workspace.root / "site"), *sys.path])
    return Platform(PlatformOptions(data=workspace.state, workspace=workspace))


async def test_a_members_seed_is_called_once(platform: Platform, write: Write) -> None:
    count = "open(platform.data / 'count', 'a').close(); platform.data.joinpath('count')"
    line = f"{count}.write_text(platform.data.joinpath('count').read_text() + '1')"
    install(write, "slipway-extra", "seed_of_extra", line)

    assert await plant_seeds(platform) == ["seed_of_extra"]
    assert await plant_seeds(platform) == []
    assert (platform.data / "count").read_text(encoding="utf-8") == "1"


async def test_a_seed_that_fails_is_called_again(platform: Platform, write: Write) -> None:
    install(write, "slipway-extra", "seed_that_fails", "raise ValueError('not yet')")

    for _ in range(2):
        with pytest.raises(ValueError, match="not yet"):
            await plant_seeds(platform)


async def test_a_seed_of_a_stranger_is_not_called(platform: Platform, write: Write) -> None:
    install(write, "slipway-stranger", "seed_of_stranger", "raise ValueError('called')")

    assert await plant_seeds(platform) == []
