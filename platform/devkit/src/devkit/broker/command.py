"""`slipway broker …`: keys, permissions and streams of all services."""

from pathlib import Path
from typing import Annotated

import typer

from devkit.workspace import find_workspace

__all__ = ["app"]

app = typer.Typer(
    help="Keys, permissions and streams of the services at the broker.",
    no_args_is_help=True,
)


@app.command()
def keys(
    out: Annotated[Path, typer.Option(help="Folder of the keys; keep it out of the clone.")],
    rotate: Annotated[bool, typer.Option("--rotate", help="Replace existing keys.")] = False,
    service: Annotated[
        list[str] | None,
        typer.Option(help="A service, or release; may be repeated. Default: all."),
    ] = None,
    kubernetes: Annotated[
        bool, typer.Option("--kubernetes", help="Print the keys as Secrets, for kubectl apply -f -")
    ] = False,
) -> None:
    """Make an nkey for each service and one for the release. Existing keys are kept."""
    from devkit.broker.keys import make_keys, names_of, secret_manifests
    from devkit.errors import WrongUsage
    from devkit.services import read_services

    names = list(names_of(sorted(each.name for each in read_services(find_workspace()))))
    for name in service or ():
        if name not in names:
            raise WrongUsage(f"there is no key of {name}; there are: {', '.join(names)}")
    made = make_keys(out, service or names, rotate=rotate)
    if kubernetes:
        typer.echo(secret_manifests(made), nl=False)
        return
    width = max(len(key.name) for key in made)
    for key in made:
        typer.echo(f"{key.name:<{width}}  {key.done:<7}  {key.public}")


@app.command()
def permissions(
    keys: Annotated[Path, typer.Option(help="Folder that `slipway broker keys` has made.")],
    domain: Annotated[
        str, typer.Option(help="JetStream domain of the streams, as in APP_NATS_DOMAIN.")
    ] = "",
) -> None:
    """Print the broker's `authorization` block: every key and its permissions."""
    from devkit.broker.keys import public_keys
    from devkit.broker.permissions import permissions_of_all
    from devkit.broker.server_config import authorization
    from devkit.describing.reading import describe_platform

    allowed = permissions_of_all(describe_platform(find_workspace()), domain)
    typer.echo(authorization(allowed, public_keys(keys, allowed)), nl=False)


@app.command()
def apply(
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with 1 if something differs.")
    ] = False,
    wait: Annotated[float, typer.Option(help="Seconds to wait for an unavailable broker.")] = 30.0,
) -> None:
    """Create or update the streams of all services by `python -m <service> broker apply`.

    APP_NATS_URL and APP_NATS_NKEY_SEED_FILE name the broker and the release's key.
    """
    from devkit.broker.apply import apply_all

    options = ["--wait", str(wait), *(["--check"] if check else [])]
    raise typer.Exit(apply_all(find_workspace(), options))
