"""Deleting the folder of a service deletes its deployment; without services nothing is derived."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from forked_python import run_module

from devkit.rendering.artifact import MARK

ROOT = Path(__file__).parents[2]
# Each test describes all services five times, in processes of their own.
pytestmark = [pytest.mark.long, pytest.mark.timeout(400)]
NOT_COPIED = shutil.ignore_patterns(".*", "__pycache__", "node_modules")


@pytest.fixture(scope="module")
def without_notifications(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of this workspace without the service notifications, not rendered again yet."""
    return copy_without(tmp_path_factory.mktemp("copy"), "services/notifications")


def copy_without(folder: Path, *deleted: str) -> Path:
    copy = shutil.copytree(ROOT, folder / "workspace", ignore=NOT_COPIED)
    for name in deleted:
        path = copy / name
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    return copy


def render(workspace: Path, *options: str) -> subprocess.CompletedProcess[str]:
    return run_module(
        "devkit", "render", *options, environment=os.environ, folder=workspace, seconds=110
    )


def stale(workspace: Path) -> list[str]:
    """Return the files that the check names, without those that helm or another tool renders."""
    lines = render(workspace, "--check").stderr.splitlines()[1:]
    return [line.strip() for line in lines if "its inputs have changed" not in line]


def derived(workspace: Path) -> dict[str, str]:
    """Return the derived files by their names."""
    texts = {
        file: file.read_text(encoding="utf-8", errors="replace")
        for suffix in ("conf", "json", "md", "yaml", "yml")
        for file in workspace.rglob(f"*.{suffix}")
    }
    return {
        file.relative_to(workspace).as_posix(): text
        for file, text in texts.items()
        if MARK in "".join(text.splitlines()[:2])
    }


def test_deleting_the_folder_of_a_service_deletes_what_is_derived_for_it(
    without_notifications: Path,
) -> None:
    named = {
        name for name, text in derived(without_notifications).items() if "notifications" in text
    }
    assert "docs/catalog.md" in named

    before = stale(without_notifications)
    assert {line.partition(" ")[0] for line in before} >= named

    done = render(without_notifications)
    assert (done.returncode, done.stderr) == (0, "")
    assert stale(without_notifications) == []
    assert [
        name for name, text in derived(without_notifications).items() if "notifications" in text
    ] == []


def test_a_platform_without_services_has_nothing_derived(tmp_path: Path) -> None:
    copy = copy_without(
        tmp_path, "contracts/shop", "contracts/baseline.binpb", "services", "demo", "bench", "tests"
    )

    done = render(copy)

    assert (done.returncode, done.stderr) == (0, "")
    checked = render(copy, "--check")
    assert (checked.returncode, checked.stderr) == (0, "")
    assert [name for name in derived(copy) if "shop" in name] == []
