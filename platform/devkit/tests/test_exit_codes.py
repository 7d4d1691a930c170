"""One rule for the exit codes of all commands: 64 for the command line, 1 for what has failed."""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
from typer.testing import CliRunner

from devkit.command_line import command_line
from devkit.errors import DevkitError, WrongUsage
from devkit.local_canary.options import CanaryOptions
from devkit.platform.options import PlatformOptions, check_options
from devkit.services import read_services
from devkit.workspace import find_workspace

pytestmark = pytest.mark.unit


def commands(group: typer.core.TyperGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """Yield the path of each command below a group."""
    for name, command in group.commands.items():
        if isinstance(command, typer.core.TyperGroup):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


def every_command() -> list[tuple[str, ...]]:
    root = typer.main.get_command(command_line([]))
    assert isinstance(root, typer.core.TyperGroup)
    return sorted(commands(root))


def exit_code(*arguments: str) -> int:
    """Return the exit code of a command line, as `main` gets it."""
    result = CliRunner().invoke(command_line(arguments), arguments)
    if isinstance(result.exception, DevkitError):
        return result.exception.exit_code
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code


@pytest.fixture(autouse=True)
def without_a_platform(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A state folder in which nothing runs."""
    monkeypatch.setenv("SLIPWAY_STATE", str(tmp_path))


@pytest.mark.parametrize("command", every_command(), ids=" ".join)
def test_an_unknown_option_of_any_command_is_a_mistake_of_the_command_line(
    command: tuple[str, ...],
) -> None:
    assert exit_code(*command, "--no-such-option") == os.EX_USAGE


@pytest.mark.parametrize(
    "line",
    [
        "rnu",
        "run --replicas desk",
        "run --canary inventory=many",
        "run --canary-ref main",
        "logs stock",
        "canary weight inventory=101",
        "canary start inventory --tag 2 --steps 50,5",
        "canary shadow inventory",
        "canary start inventory",
        "images build stock",
        "dead-letters lst",
        "events pause",
    ],
)
def test_a_wrong_value_or_name_is_a_mistake_of_the_command_line(line: str, tmp_path: Path) -> None:
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "inventory-0.log").touch()
    assert exit_code(*line.split()) == os.EX_USAGE


@pytest.mark.parametrize(
    "options",
    [
        {"replicas": {"inventory": 100}},
        {"replicas": {"stock": 2}},
        {"ports": {"inventory": 8080}},
        {"ports": {"inventory.http": 99999}},
        {"canary": CanaryOptions({"stock": 30})},
        {"canary": CanaryOptions({"inventory": 30}), "leave_out": ("inventory",)},
    ],
)
def test_options_that_no_service_has_are_mistakes_of_the_command_line(
    options: dict[str, Any], tmp_path: Path
) -> None:
    workspace = find_workspace()
    with pytest.raises(WrongUsage):
        check_options(
            PlatformOptions(data=tmp_path, workspace=workspace, **options),
            read_services(workspace),
        )


@pytest.mark.parametrize(
    "line", ["logs", "ps", "canary weight inventory=50", "dead-letters list", "events lag"]
)
def test_what_needs_a_platform_fails_without_one(line: str) -> None:
    assert exit_code(*line.split()) == 1
