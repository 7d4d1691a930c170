"""`slipway load`: the sample's products, with their stock, into a shop that runs already."""

import asyncio
from typing import Annotated

import grpc.aio
import typer

from demo.catalog import from_sample
from demo.elsewhere import grpc_address
from demo.seed import SAMPLE, load_products
from devkit.console import console
from devkit.errors import DevkitError

__all__ = ["app"]

_INVENTORY = "inventory"

app = typer.Typer()


@app.command()
def load(
    at: Annotated[
        str, typer.Option(help="Where inventory answers to gRPC")
    ] = f"{_INVENTORY}=localhost:9082",
    wait: Annotated[float, typer.Option(min=0.1, help="Seconds it may take to answer")] = 30.0,
) -> None:
    """Load the sample's products, with their stock, into a shop that runs already.

    `slipway run` does so by itself. A product that is there keeps its stock.
    """
    address = grpc_address(at, _INVENTORY)
    catalog = from_sample(SAMPLE).catalog
    try:
        loaded = asyncio.run(load_products(address, catalog, seconds=wait))
    except grpc.aio.AioRpcError as error:
        raise DevkitError(
            f"inventory at {address}: {error.code().name}, {error.details()}; --at"
            f" {_INVENTORY}=host:port names where its gRPC answers, after `kubectl port-forward"
            f" service/{_INVENTORY} 9082` for example"
        ) from None
    there = len(catalog.products) - loaded
    console().print(f"loaded {loaded:,} products; {there:,} were there and keep their stock")
