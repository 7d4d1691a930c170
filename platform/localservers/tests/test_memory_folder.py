"""Folders of databases are in memory where there is room, and none is left behind."""

import subprocess
from pathlib import Path

import pytest

from localservers.memory_folder import memory_folder


def test_a_folder_in_memory_is_deleted_at_the_end(tmp_path: Path) -> None:
    with memory_folder(tmp_path / "disk", memory=tmp_path) as folder:
        (folder / "file").touch()
        assert folder.parent == tmp_path
        assert folder.stat().st_mode & 0o777 == 0o711
    assert not folder.exists()


def test_the_folder_of_a_killed_process_is_deleted_by_the_next(tmp_path: Path) -> None:
    ended = subprocess.Popen(["true"])
    ended.wait()
    orphan, own, other = (tmp_path / f"slipway-memory-{name}" for name in (ended.pid, 1, "other"))
    for folder in (orphan, own, other):
        folder.mkdir()
    with memory_folder(tmp_path / "disk", memory=tmp_path):
        assert [folder.exists() for folder in (orphan, own, other)] == [False, True, True]


def test_without_memory_or_room_in_it_the_folder_is_on_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with memory_folder(tmp_path / "disk", memory=tmp_path / "none") as folder:
        assert folder == tmp_path / "disk"
    monkeypatch.setattr("localservers.memory_folder._FREE_BYTES", 1 << 80)
    with memory_folder(tmp_path / "disk", memory=tmp_path) as folder:
        assert folder == tmp_path / "disk"
