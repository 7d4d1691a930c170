"""`slipway compose …`: start and stop the platform in containers."""

import typer

from devkit.compose.project import Project
from devkit.compose.secrets import make_secrets
from devkit.console import console
from devkit.describing.reading import describe_platform
from devkit.workspace import find_workspace

__all__ = ["app"]

app = typer.Typer(help="Run the platform in containers on this machine.")


@app.callback()
def root() -> None:
    pass


@app.command()
def secrets() -> None:
    """Make missing passwords and keys in docker/.secrets."""
    workspace = find_workspace()
    folder = workspace.root / "docker/.secrets"
    made = make_secrets(describe_platform(workspace), folder)
    what = f"made {len(made)} files" if made else "nothing was missing"
    console().print(f"{folder.relative_to(workspace.root)}: {what}", markup=False)


@app.command()
def up() -> None:
    """Start new and changed containers, and return when every service is ready."""
    workspace = find_workspace()
    project = Project(workspace.root)
    secrets()
    project.up()
    for name, address in project.addresses().items():
        console().print(f"{name:<24}{address}", markup=False)


@app.command()
def down(
    volumes: bool = typer.Option(False, help="Delete the data of the broker and the database too."),
) -> None:
    """Stop the platform and remove its containers."""
    Project(find_workspace().root).down(volumes=volumes)
