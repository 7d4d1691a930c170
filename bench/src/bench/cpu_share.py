"""A fixed share of a processor for a process, by a control group of Linux."""

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["CpuShare"]

_VERSION_1 = Path("/sys/fs/cgroup/cpu")
_VERSION_2 = Path("/sys/fs/cgroup")
_PERIOD_MICROSECONDS = 50_000


class CpuShare:
    """A control group whose processes together get at most a share of one processor.

    Where control groups cannot be made, which needs root, `held` yields None.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @classmethod
    @contextmanager
    def held(cls) -> "Iterator[CpuShare | None]":
        """Make a group without a limit, and delete it when the block ends."""
        parent = _VERSION_1 if _VERSION_1.is_dir() else _VERSION_2
        folder = parent / f"slipway-bench-{uuid.uuid4().hex[:8]}"
        try:
            folder.mkdir()
        except OSError:
            yield None
            return
        try:
            yield cls(folder) if cls._limit_of(folder).exists() else None
        finally:
            folder.rmdir()  # Its processes have ended.

    def add(self, pid: int) -> None:
        """Move a process into the group, with all its threads."""
        (self._folder / "cgroup.procs").write_text(str(pid), encoding="ascii")

    def limit(self, share: float | None) -> None:
        """Limit the group to this share of a processor; with None it is not limited."""
        quota = None if share is None else int(share * _PERIOD_MICROSECONDS)
        if (self._folder / "cpu.max").exists():
            value = f"{'max' if quota is None else quota} {_PERIOD_MICROSECONDS}"
        else:
            period = self._folder / "cpu.cfs_period_us"
            period.write_text(str(_PERIOD_MICROSECONDS), encoding="ascii")
            value = str(-1 if quota is None else quota)
        self._limit_of(self._folder).write_text(value, encoding="ascii")

    @staticmethod
    def _limit_of(folder: Path) -> Path:
        """Return the file with the group's limit."""
        version_2 = folder / "cpu.max"
        return version_2 if version_2.exists() else folder / "cpu.cfs_quota_us"
