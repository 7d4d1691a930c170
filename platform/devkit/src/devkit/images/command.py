"""`slipway images …`: build, push and list the services' images."""

import time
from pathlib import Path
from typing import Annotated

import typer

from devkit.errors import WrongUsage
from devkit.images.build import Order, Target, build_image, pick_members, push_image
from devkit.images.for_skaffold import build_for_skaffold
from devkit.workspace import find_workspace

__all__ = ["app"]

app = typer.Typer(
    help="Build the services' images, and list the packages in them.", no_args_is_help=True
)

Services = Annotated[list[str] | None, typer.Argument(help="Services. Default: all.")]


@app.command("list")
def list_command() -> None:
    """Print the names of all images."""
    for member in find_workspace().services:
        typer.echo(member.name)


@app.command()
def build(
    services: Services = None,
    tag: Annotated[str, typer.Option(help="Tag of the images, and their version.")] = "dev",
    target: Annotated[Target, typer.Option(help="Target of the Dockerfile.")] = Target.SERVICE,
    push: Annotated[
        str, typer.Option(metavar="REGISTRY", help="Push the images to this registry.")
    ] = "",
    platforms: Annotated[
        str, typer.Option(help="Platforms, such as linux/amd64,linux/arm64; needs --push.")
    ] = "",
) -> None:
    """Build the images; with --push, push them."""
    if platforms and not push:
        raise WrongUsage("--platforms needs --push: images for platforms exist in a registry only")
    workspace = find_workspace()
    order = Order(tag, target, push.rstrip("/"), platforms)
    for member in pick_members(workspace, services or []):
        began = time.monotonic()
        image = build_image(workspace, member, order)
        if push and not platforms:
            image = push_image(workspace, image, order.registry)
        typer.echo(f"{image:<40} {time.monotonic() - began:6.1f} s")


@app.command()
def for_skaffold(
    name: Annotated[str, typer.Argument(help="A service, or demo.")],
    image: Annotated[str, typer.Option(envvar="IMAGE", help="Full name of the image.")],
    target: Annotated[Target, typer.Option(help="Target of the Dockerfile.")] = Target.SERVICE,
    push: Annotated[bool, typer.Option(envvar="PUSH_IMAGE", help="Push the image.")] = False,
    platforms: Annotated[
        str, typer.Option(envvar="PLATFORMS", help="Platforms of the cluster's nodes.")
    ] = "",
) -> None:
    """Build one image for Skaffold, which sets the variables."""
    tag = image.rpartition(":")[2]
    order = Order(tag, target, platforms=platforms, name=image)
    build_for_skaffold(find_workspace(), name, order, push=push)


@app.command()
def sbom(
    services: Services = None,
    tag: Annotated[str, typer.Option(help="Tag of the images.")] = "dev",
    out: Annotated[Path, typer.Option(help="Folder of the files.")] = Path("dist"),
) -> None:
    """Write each image's bill of materials (CycloneDX, <image>.cdx.json)."""
    from devkit.images.sbom import bill_of_materials

    workspace = find_workspace()
    out.mkdir(parents=True, exist_ok=True)
    for member in pick_members(workspace, services or []):
        file = out / f"{member.name}.cdx.json"
        file.write_text(bill_of_materials(workspace, member, tag), encoding="utf-8")
        typer.echo(file)
