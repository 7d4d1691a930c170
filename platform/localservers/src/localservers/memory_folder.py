"""A folder in memory, for databases that need not outlive the process that makes them.

A new database of PostgreSQL is 300 files, which a disk's file system makes, journals and deletes
in a multiple of the processor time that memory takes.
"""

import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

__all__ = ["memory_folder"]

_MEMORY = Path("/dev/shm")
_PREFIX = "slipway-memory-"
# A run of all tests has several servers, each with a few databases and a write-ahead log.
_FREE_BYTES = 4 << 30


@contextmanager
def memory_folder(otherwise: Path, *, memory: Path = _MEMORY) -> Iterator[Path]:
    """Make a folder in memory that every user can enter, and delete it at the end.

    Folders of processes that have ended without deleting them are deleted first. The folder is
    `otherwise` on a system without a file system in memory, or with less than 4 GiB free there.
    """
    _remove_orphans(memory)
    if not _has_room(memory):
        yield otherwise
        return
    folder = memory / f"{_PREFIX}{os.getpid()}"
    folder.mkdir(mode=0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _has_room(memory: Path) -> bool:
    """Return whether a folder can be made there, and is unlikely to fill it."""
    try:
        return os.access(memory, os.W_OK) and shutil.disk_usage(memory).free >= _FREE_BYTES
    except OSError:
        return False


def _remove_orphans(memory: Path) -> None:
    for folder in memory.glob(f"{_PREFIX}*"):
        try:
            os.kill(int(folder.name.removeprefix(_PREFIX)), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (ValueError, PermissionError):
            continue
