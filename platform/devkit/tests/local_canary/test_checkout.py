"""The stable version next to a canary: the files of a git ref, as they were committed."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from devkit.errors import DevkitError
from devkit.local_canary.checkout import check_out
from devkit.workspace import Workspace

Git = Callable[..., str]
Write = Callable[[str, str], Path]


def content(workspace: Workspace) -> str:
    return (workspace.root / "services/lending/src/lending/__init__.py").read_text(encoding="utf-8")


def test_a_checkout_has_the_files_of_its_commit_and_not_those_of_the_working_tree(
    workspace: Workspace, write: Write, git: Git, commit: Callable[[], str], tmp_path: Path
) -> None:
    write("services/lending/src/lending/__init__.py", "first")
    first = commit()
    write("services/lending/src/lending/__init__.py", "second")
    commit()
    write("services/lending/src/lending/__init__.py", "not committed")

    assert content(check_out(workspace, "HEAD", tmp_path / "checkouts").workspace) == "second"
    older = check_out(workspace, "HEAD~1", tmp_path / "checkouts")
    assert content(older.workspace) == "first"
    assert older.version == first[: len(older.version)]
    assert older.packages == {"lending": "lending", "shelves": "shelves"}


def test_the_repository_stays_as_it_is(
    workspace: Workspace, write: Write, git: Git, commit: Callable[[], str], tmp_path: Path
) -> None:
    commit()
    write("services/lending/src/lending/__init__.py", "staged")
    git("add", "--all")
    write("services/lending/src/lending/__init__.py", "not staged")
    before = git("status", "--porcelain"), git("worktree", "list"), git("branch", "--all")

    check_out(workspace, "HEAD", tmp_path / "checkouts")

    assert (git("status", "--porcelain"), git("worktree", "list"), git("branch", "--all")) == before


def test_a_workspace_may_be_a_folder_of_its_repository(
    workspace: Workspace, write: Write, git: Git, commit: Callable[[], str], tmp_path: Path
) -> None:
    write("apps/shop/pyproject.toml", '[tool.uv.workspace]\nmembers = ["services/*"]\n')
    write("apps/shop/services/desk/src/desk/__init__.py", "committed")
    commit()
    shop = Workspace(workspace.root / "apps/shop")

    found = check_out(shop, "HEAD", tmp_path / "checkouts").workspace.root

    assert (found / "services/desk/src/desk/__init__.py").read_text(encoding="utf-8") == "committed"
    assert not (found / "apps").exists()


def test_checkouts_of_other_commits_are_deleted(
    workspace: Workspace, write: Write, commit: Callable[[], str], tmp_path: Path
) -> None:
    first = commit()
    write("note", "more")
    second = commit()
    check_out(workspace, first, tmp_path / "checkouts")
    check_out(workspace, second, tmp_path / "checkouts")
    assert os.listdir(tmp_path / "checkouts") == [second]


def test_python_imports_the_members_of_the_checkout_first(
    workspace: Workspace,
    commit: Callable[[], str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    commit()
    monkeypatch.setenv("PYTHONPATH", "/mine")
    stable = check_out(workspace, "HEAD", tmp_path / "checkouts")
    *members, mine = stable.python_path.split(os.pathsep)
    assert mine == "/mine"
    assert str(stable.workspace.root / "services/lending/src") in members
    assert str(stable.workspace.root / "platform/chassis/src") in members


@pytest.mark.parametrize("ref", ["no-such-branch", "--help", "HEAD:pyproject.toml", "HEAD~7"])
def test_a_ref_that_names_no_commit_is_told(
    workspace: Workspace, commit: Callable[[], str], tmp_path: Path, ref: str
) -> None:
    commit()
    with pytest.raises(DevkitError, match=f"git knows no commit {ref}"):
        check_out(workspace, ref, tmp_path / "checkouts")


def test_a_workspace_outside_of_git_is_told(workspace: Workspace, tmp_path: Path) -> None:
    with pytest.raises(
        DevkitError, match=r"not a git repository.*commit your platform to git first"
    ):
        check_out(workspace, "HEAD", tmp_path / "checkouts")


def test_missing_git_is_told(
    workspace: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(DevkitError, match=r"git is not installed.*install git"):
        check_out(workspace, "HEAD", tmp_path / "checkouts")
