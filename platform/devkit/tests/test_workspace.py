"""The globs of the workspace find its members."""

from collections.abc import Callable
from pathlib import Path

import pytest

from devkit.errors import DevkitError
from devkit.services import read_services
from devkit.type_check import source_paths, type_roots
from devkit.workspace import Workspace, find_workspace

pytestmark = pytest.mark.unit

Write = Callable[[str, str], Path]


def test_a_workspace_is_found_from_a_folder_below_it(workspace: Workspace) -> None:
    below = workspace.root / "services/lending/src"

    assert find_workspace(below).root == workspace.root


def test_outside_of_a_workspace_the_error_says_where_to_go(tmp_path: Path) -> None:
    with pytest.raises(DevkitError, match="Go to the folder of your clone"):
        find_workspace(tmp_path)


def test_a_new_service_needs_only_its_folder(workspace: Workspace, write: Write) -> None:
    write("services/fines/src/fines/__init__.py", "")
    write("services/fines/tests/test_fines.py", "")
    write(
        "services/fines/pyproject.toml",
        '[project]\nname = "slipway-fines"\n'
        '[project.entry-points."slipway.services"]\nfines = "fines.service:service"\n',
    )

    assert [member.name for member in workspace.services] == [
        "slipway-fines",
        "slipway-lending",
        "slipway-shelves",
    ]
    assert workspace.root / "services/fines/src" in source_paths(workspace)
    assert workspace.root / "services/fines/tests" in source_paths(workspace)
    assert workspace.root / "services/fines/src" in type_roots(workspace)


@pytest.mark.parametrize("project", ['[project]\nname = "slipway-fines"\n', None])
def test_a_services_folder_without_its_entry_point_is_named(
    workspace: Workspace, write: Write, project: str | None
) -> None:
    write("services/fines/src/fines/__init__.py", "")
    if project is not None:
        write("services/fines/pyproject.toml", project)

    with pytest.raises(DevkitError, match="services/fines declares no service") as error:
        read_services(workspace)
    assert 'fines = "fines.service:service"' in str(error.value)
    with pytest.raises(DevkitError, match="services/fines declares no service"):
        type_roots(Workspace(workspace.root))


def test_a_folder_without_tests_is_not_given_to_pytest(workspace: Workspace, write: Write) -> None:
    write("services/lending/tests/__init__.py", "")
    write("services/shelves/tests/test_shelves.py", "")

    assert workspace.tests == (workspace.root / "services/shelves/tests",)


def test_tests_over_all_services_go_with_the_services(workspace: Workspace, write: Write) -> None:
    write("tests/e2e/test_everything.py", "")
    write("pyproject.toml", '[tool.uv.workspace]\nmembers = ["platform/*"]\n')

    assert workspace.tests == ()
    assert workspace.services == ()
    assert workspace.contracts is None
    write("pyproject.toml", '[tool.uv.workspace]\nmembers = ["platform/*", "services/*"]\n')
    assert Workspace(workspace.root).tests == (workspace.root / "tests",)


def test_the_state_of_a_platform_lies_in_the_workspace_or_where_a_variable_says(
    workspace: Workspace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SLIPWAY_STATE", raising=False)
    assert workspace.state == workspace.root / ".slipway"
    monkeypatch.setenv("SLIPWAY_STATE", "/elsewhere")
    assert workspace.state == Path("/elsewhere")
