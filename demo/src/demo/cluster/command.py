"""`slipway cluster-demo`: installs the chart on a cluster, replays baskets, checks the laws."""

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
        str, typer.Option(envvar="REGISTRY", help="Registry to push images to and pull them from")
    ] = "localhost:5000",
    namespace: Annotated[str | None, typer.Option(help="Name of the namespace to create")] = None,
    baskets: Annotated[int, typer.Option(min=1, help="Number of baskets")] = 1000,
    in_flight: Annotated[int, typer.Option(min=1, help="Orders placed concurrently")] = 16,
    mesh: Annotated[bool, typer.Option("--mesh", help="With Istio's sidecars and mTLS")] = False,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the namespace")] = False,
) -> None:
    """Install the platform on the cluster of KUBECONFIG, replay baskets there, check the laws."""
    workspace = find_workspace()
    if lines := missing(("docker", "helm", "kubectl")):
        raise DevkitError("\n".join(lines))
    check_cluster()
    target = Namespace(namespace or f"slipway-demo-{uuid4().hex[:6]}")
    output = console()
    began = time.monotonic()

    @contextmanager
    def step(title: str) -> Iterator[None]:
        started = time.monotonic()
        output.print(title, markup=False)
        yield
        output.print(f"  done in {time.monotonic() - started:.1f} s", markup=False)

    with step(f"building the images and pushing them to {registry}"):
        tag = push_shop(workspace, registry)
    shop = ClusterShop(workspace, target, registry, tag, mesh)
    try:
        with step(f"installing the platform in namespace {target.name}"):
            shop.make_namespace()
            shop.open_entry()
            shop.install()
            shop.start_pod()
        at = [argument for address in shop.addresses for argument in ("--at", address)]
        options = ("--baskets", str(baskets), "--in-flight", str(in_flight))
        with step(f"replaying {baskets:,} baskets in pod {shop.pod.name}"):
            code = shop.pod.run_demo(*options, *at)
        with step("testing the release: helm test"):
            shop.release.test()
    finally:
        if keep:
            output.print(
                f"kept; remove it with: kubectl delete namespace {target.name}", markup=False
            )
        else:
            with step(f"removing namespace {target.name}"):
                target.delete(wait=True)
    output.print(f"all in {time.monotonic() - began:.1f} s", markup=False)
    if code:
        raise typer.Exit(code)
