"""New versions of a shop on a cluster, and the checks of an upgrade to them."""

from cluster_customers import Seen

from demo.cluster.shop import ClusterShop
from devkit.cluster.images import push_as

__all__ = ["assert_nothing_failed", "push_again", "versions"]


def push_again(shop: ClusterShop, name: str) -> str:
    """Push the images of all services with another tag, as a new version."""
    tag = f"{shop.tag}-{name}"
    for service in shop.platform.services:
        image = service.distribution
        push_as(shop.workspace, f"{image}:{shop.tag}", f"{image}:{tag}", shop.registry)
    return tag


def versions(shop: ClusterShop) -> set[str]:
    """Return the tags of the images of the services' pods, except for terminating pods."""
    pods = shop.namespace.read("pods", "--selector", "track=stable")["items"]
    return {
        pod["spec"]["containers"][0]["image"].rpartition(":")[2]
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
    }


def assert_nothing_failed(seen: Seen) -> None:
    """Assert that customers ordered in the meantime, no request failed, and every law holds."""
    assert (seen.failed, seen.broken) == ({}, {})
    assert seen.placed > 20
