"""The files of a git ref, checked out into a folder of their own."""

import os
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from devkit.errors import DevkitError, WrongUsage
from devkit.workspace import Workspace

__all__ = ["Checkout", "check_out"]


@dataclass(frozen=True)
class Checkout:
    """The workspace as it is in a commit; `version` is the commit's short id."""

    version: str
    workspace: Workspace

    @cached_property
    def packages(self) -> dict[str, str]:
        """The package of each service, by the service's name."""
        return {
            name: value.split(":")[0].split(".")[0]
            for member in self.workspace.services
            for name, value in member.service_entry_points.items()
        }

    @property
    def python_path(self) -> str:
        """The value of PYTHONPATH with which Python imports the members of this commit."""
        folders = [str(member.source_root) for member in self.workspace.members]
        own = os.environ.get("PYTHONPATH")
        return os.pathsep.join([*folders, *([own] if own else [])])


def check_out(workspace: Workspace, ref: str, folder: Path) -> Checkout:
    """Write the files of a ref below `folder`, and delete the checkouts of other commits there.

    The repository's index, branches and work trees stay as they are.

    Raises:
        DevkitError: the workspace is not in a git repository.
        WrongUsage: the ref names no commit.
    """
    git = _Git(workspace.root)
    commit = git.commit(ref)
    files = folder / commit
    folder.mkdir(parents=True, exist_ok=True)
    for other in folder.iterdir():
        if other != files:
            shutil.rmtree(other)
    if not files.is_dir():
        with tempfile.TemporaryDirectory(dir=folder) as draft:
            git.write_files(commit, Path(draft) / "files")
            (Path(draft) / "files").rename(files)
    return Checkout(git.run("rev-parse", "--short", commit), Workspace(files))


class _Git:
    """Git in the folder of a workspace, which may be a folder of its repository."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._environment = {n: v for n, v in os.environ.items() if not n.startswith("GIT_")}
        try:
            self.run("rev-parse", "--git-dir")
        except FileNotFoundError as error:
            raise _without_stable("git is not installed", "install git") from error
        except subprocess.CalledProcessError as error:
            said = str(error.stderr).strip().removeprefix("fatal: ")
            raise _without_stable(
                f"git cannot read {root} ({said})", "commit your platform to git first"
            ) from error

    def commit(self, ref: str) -> str:
        """Return the id of a ref's commit. Raises WrongUsage if there is none."""
        try:
            if not ref.startswith("-"):
                return self.run("rev-parse", "--verify", "--quiet", f"{ref}^{{commit}}")
        except subprocess.CalledProcessError:
            pass
        raise WrongUsage(
            f"git knows no commit {ref}. `git log --oneline` shows commits,"
            " `git fetch` brings those of others."
        )

    def write_files(self, commit: str, target: Path) -> None:
        """Write the workspace's files of a commit into a new folder.

        The files are written from an index of their own, as `git checkout` would write them.
        """
        prefix = self.run("rev-parse", "--show-prefix")
        top = Path(self.run("rev-parse", "--show-toplevel"))
        index = {"GIT_INDEX_FILE": str(target.with_suffix(".index"))}
        self.run("read-tree", f"{commit}:{prefix}", variables=index)
        self.run(
            "checkout-index", "--all", f"--prefix={target}{os.sep}", folder=top, variables=index
        )

    def run(
        self, *arguments: str, folder: Path | None = None, variables: dict[str, str] | None = None
    ) -> str:
        """Run a git command and return its output. Raises CalledProcessError if it fails."""
        return subprocess.run(
            ["git", *arguments],
            cwd=folder or self._root,
            env=self._environment | (variables or {}),
            check=True,
            capture_output=True,
            encoding="utf-8",
            errors="replace",
        ).stdout.strip()


def _without_stable(reason: str, advice: str) -> DevkitError:
    return DevkitError(f"{reason}, so there is no stable version to compare with: {advice}")
