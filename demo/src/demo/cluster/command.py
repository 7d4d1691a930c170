"""`slipway cluster-demo`: the umbrella chart on a cluster, and whether every law holds there."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated
from uuid import uuid4

import typer

from demo.cluster.shop import ClusterShop, push_shop
from devkit.cluster.namespace import Namespace, check_cluster
from devkit.cluster.tools import missing
from devkit.console import console
from devkit.errors import DevkitError
from devkit.workspace import find_workspace

__all__ = ["app"]

app = typer.Typer()


@app.command()
def cluster_demo(
    registry: Annotated[
        str, typer.Option(envvar="REGISTRY", help="Where images are pushed to and pulled from")
    ] = "localhost:5000",
    namespace: Annotated[
        str | None, typer.Option(help="Name of the namespace that is made for it")
    ] = None,
    baskets: Annotated[int, typer.Option(min=1, help="How many")] = 1000,
    in_flight: Annotated[int, typer.Option(min=1, help="Orders placed at the same moment")] = 16,
    mesh: Annotated[bool, typer.Option("--mesh", help="With Istio's sidecars and mTLS")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Leave all of it on the cluster")] = False,
) -> None:
    """Install the platform on the cluster of KUBECONFIG, replay baskets there, check the laws."""
    workspace = find_workspace()
    if lines := missing(("docker", "helm", "kubectl")):
        raise DevkitError("\n".join(lines))
    check_cluster()
    place = Namespace(namespace or f"slipway-demo-{uuid4().hex[:6]}")
    output = console()
    began = time.monotonic()

    @contextmanager
    def step(doing: str) -> Iterator[None]:
        started = time.monotonic()
        output.print(doing, markup=False)
        yield
        output.print(f"  done in {time.monotonic() - started:.1f} s", markup=False)

    with step(f"building the images and pushing them to {registry}"):
        tag = push_shop(workspace, registry)
    shop = ClusterShop(workspace, place, registry, tag, mesh)
    try:
        with step(f"installing the platform in namespace {place.name}"):
            shop.make_namespace()
            shop.open_entry()
            shop.install()
            shop.visit()
        at = [argument for address in shop.addresses for argument in ("--at", address)]
        wanted = ("--baskets", str(baskets), "--in-flight", str(in_flight))
        with step(f"replaying {baskets:,} baskets in pod {shop.pod.name}"):
            code = shop.pod.demo(*wanted, *at)
        with step("testing the release: helm test"):
            shop.release.test()
    finally:
        if keep:
            output.print(f"kept; remove it by: kubectl delete namespace {place.name}", markup=False)
        else:
            with step(f"removing namespace {place.name}"):
                place.delete(wait=True)
    output.print(f"all in {time.monotonic() - began:.1f} s", markup=False)
    if code:
        raise typer.Exit(code)
