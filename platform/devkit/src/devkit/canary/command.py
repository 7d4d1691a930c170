"""`slipway canary`: canaries of services."""

import typer

from devkit.canary.weight import weight

__all__ = ["app"]

app = typer.Typer(help="Start, watch and end canaries of services.", no_args_is_help=True)


@app.callback()
def root() -> None:
    pass


app.command("weight")(weight)
