"""A share of a processor is written as the kernel's two versions of control groups expect it."""

from pathlib import Path

import pytest

from bench.cpu_share import CpuShare

pytestmark = pytest.mark.unit


def test_a_share_is_the_quota_of_a_period(tmp_path: Path) -> None:
    (tmp_path / "cpu.cfs_quota_us").touch()
    share = CpuShare(tmp_path)
    share.limit(0.15)
    assert (tmp_path / "cpu.cfs_period_us").read_text(encoding="utf-8") == "50000"
    assert (tmp_path / "cpu.cfs_quota_us").read_text(encoding="utf-8") == "7500"
    share.limit(None)
    assert (tmp_path / "cpu.cfs_quota_us").read_text(encoding="utf-8") == "-1"


def test_version_two_has_quota_and_period_in_one_file(tmp_path: Path) -> None:
    (tmp_path / "cpu.max").touch()
    share = CpuShare(tmp_path)
    share.limit(0.15)
    assert (tmp_path / "cpu.max").read_text(encoding="utf-8") == "7500 50000"
    share.limit(None)
    assert (tmp_path / "cpu.max").read_text(encoding="utf-8") == "max 50000"


def test_without_the_right_to_make_a_group_there_is_no_share(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("bench.cpu_share._VERSION_1", tmp_path / "missing")
    monkeypatch.setattr("bench.cpu_share._VERSION_2", tmp_path / "missing")
    with CpuShare.held() as share:
        assert share is None
