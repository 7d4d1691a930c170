"""Fixtures of canaries on this machine."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

Git = Callable[..., str]


@pytest.fixture
def git(root: Path) -> Git:
    """A function that runs git in the workspace's folder, which it makes a repository."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    environment |= {f"GIT_{who}_{what}": "me@example.org"
                    for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}  # fmt: skip

    def run(*arguments: str) -> str:
        return subprocess.run(
            ["git", "-c", "init.defaultBranch=main", *arguments],
            cwd=root,
            env=environment,
            check=True,
            capture_output=True,
            encoding="utf-8",
        ).stdout.strip()

    root.mkdir(exist_ok=True)
    run("init", "--quiet")
    return run


@pytest.fixture
def commit(git: Git) -> Callable[[], str]:
    """A function that commits all files and returns the commit's id."""

    def commit_all() -> str:
        git("add", "--all")
        git("commit", "--quiet", "--message", "Change")
        return git("rev-parse", "HEAD")

    return commit_all
