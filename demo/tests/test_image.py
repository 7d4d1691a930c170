"""The demo in its image, which has neither a workspace nor servers to start."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

# The packages that docker/Dockerfile copies into the image, and one for the installed libraries.
PACKAGES = ("shop", "chassis", "devkit", "demo", "httpx")


@pytest.mark.parametrize("options", [(), ("--keep",), ("--replicas", "orders=2")])
def test_a_demo_that_cannot_start_a_platform_asks_for_the_address_of_one(
    tmp_path: Path, options: tuple[str, ...]
) -> None:
    # The option -S leaves out the workspace's other members, which are installed by .pth files.
    ended = subprocess.run(
        [sys.executable, "-S", "-m", "demo", *options],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(map(folder_of, PACKAGES))},
        capture_output=True,
        encoding="utf-8",
        timeout=60,
    )
    assert (ended.returncode, ended.stdout) == (os.EX_USAGE, "")
    [line] = ended.stderr.splitlines()
    assert "--at gateway=http://" in line


def folder_of(package: str) -> str:
    spec = find_spec(package)
    assert spec
    assert spec.submodule_search_locations
    return str(Path(next(iter(spec.submodule_search_locations))).parent)
