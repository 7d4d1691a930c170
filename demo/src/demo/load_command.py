"""`slipway load`: loads the sample's products, with their stock, into a running shop."""

import asyncio
from typing import Annotated

import grpc.aio
import typer

from demo.catalog import from_sample
from demo.remote_platform import grpc_address
from demo.seed import SAMPLE_BASKETS, load_products
from devkit.console import console
from devkit.errors import DevkitError

__all__ = ["app"]

_INVENTORY = "inventory"

app = typer.Typer()


@app.command()
def load(
    at: Annotated[
        str, typer.Option(help="gRPC address of inventory")
    ] = f"{_INVENTORY}=localhost:9082",
    wait: Annotated[
        float, typer.Option(min=0.1, help="Time limit of each call, in seconds")
    ] = 30.0,
) -> None:
    """Load the sample's products, with their stock, into a running shop.

    `slipway run` does this by itself. An existing product keeps its stock.
    """
    address = grpc_address(at, _INVENTORY)
    catalog = from_sample(SAMPLE_BASKETS).catalog
    try:
        loaded = asyncio.run(load_products(address, catalog, seconds=wait))
    except grpc.aio.AioRpcError as error:
        raise DevkitError(
            f"inventory at {address}: {error.code().name}, {error.details()}; pass its gRPC address"
            f" as --at {_INVENTORY}=host:port, on a cluster after `kubectl port-forward"
            f" service/{_INVENTORY} 9082`"
        ) from None
    existing = len(catalog.products) - loaded
    console().print(f"loaded {loaded:,} products; {existing:,} existed and keep their stock")
