"""Members plug in commands; a broken command does not affect the others."""

import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from devkit.command_line import command_line
from devkit.errors import DevkitError

pytestmark = pytest.mark.unit

Install = Callable[[str, str], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    """A function that installs a distribution with one command."""
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])

    def install_command(name: str, code: str) -> None:
        folder = tmp_path / f"{name}-1.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n", encoding="utf-8"
        )
        (folder / "entry_points.txt").write_text(
            f"[slipway.commands]\n{name} = {name}_command:app\n", encoding="utf-8"
        )
        (tmp_path / f"{name}_command.py").write_text(code, encoding="utf-8")

    return install_command


def said(*arguments: str) -> str:
    result = CliRunner().invoke(command_line(arguments), arguments)
    assert result.exit_code == 0, result.output
    return result.output


def test_an_app_of_one_command_is_that_command(install: Install) -> None:
    install(
        "alpha",
        "import typer\napp = typer.Typer()\n"
        "@app.command()\ndef anything(times: int = 1) -> None:\n"
        "    'Says hello.'\n    typer.echo('hello ' * times)\n",
    )

    assert said("alpha", "--times", "2") == "hello hello \n"
    assert "Says hello." in said("--help")


def test_an_app_of_several_commands_is_a_group(install: Install) -> None:
    install(
        "beta",
        "import typer\napp = typer.Typer()\n"
        "@app.command()\ndef one() -> None:\n    typer.echo('1')\n"
        "@app.command()\ndef two() -> None:\n    typer.echo('2')\n",
    )

    assert said("beta", "two") == "2\n"


def test_a_command_that_cannot_be_imported_is_an_error_only_when_it_is_asked_for(
    install: Install,
) -> None:
    install("gamma", "import nothing_of_this_name\n")

    assert "workspace" in said("--help")
    with pytest.raises(DevkitError, match=r"the command gamma .* can't be imported"):
        command_line(["gamma"])


def test_a_command_is_not_imported_for_another_one(install: Install) -> None:
    install("delta", "raise SystemExit('imported')\n")

    said("workspace", "--help")
    assert "delta_command" not in sys.modules
