"""Data of broker and database in the chart's claims outlive their pods and the release."""

import json
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import pytest
from cluster_customers import Customers
from cluster_node import Node
from cluster_volumes import volumes_of_a_class

from demo.cluster.shop import ClusterShop
from devkit.cluster.tools import ToolFailed

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

_SECONDS = 180.0
_SERVERS = ("nats", "postgresql")
# Prints the creation time of the stream of orders; a recreated stream has another one.
_STREAM = """
import asyncio, nats
async def created():
    connection = await nats.connect("nats://nats:4222")
    print((await connection.jetstream()._api_request("$JS.API.STREAM.INFO.orders"))["created"])
    await connection.close()
asyncio.run(created())
"""
# The id that a database server gives itself when its folder is created.
_DATABASE = "SELECT system_identifier FROM pg_control_system()"


@pytest.fixture(scope="module")
def values(node: Node) -> Iterator[Mapping[str, Any]]:
    """Values with a claim for each server, which is kept when the release is uninstalled."""
    with volumes_of_a_class(node, len(_SERVERS)) as name:
        storage = {"enabled": True, "storageClass": name, "whenDeleted": "Retain"}
        yield {server: {"storage": storage} for server in _SERVERS}


def _stored(shop: ClusterShop) -> tuple[str, str]:
    """Return values by which a recreated stream and a recreated database would differ."""
    python = ("exec", "deployment/orders", "--container=app", "--", "python", "-c", _STREAM)
    psql = ("psql", "--host=/tmp", "--username=postgres", "--tuples-only", f"--command={_DATABASE}")
    database = shop.namespace.kubectl("exec", "postgresql-0", "--container=postgresql", "--", *psql)
    return shop.namespace.kubectl(*python).strip(), database.strip()


def _until_ready(shop: ClusterShop) -> None:
    for server in _SERVERS:
        status = ("rollout", "status", f"statefulset/{server}", f"--timeout={_SECONDS:g}s")
        shop.namespace.kubectl(*status, seconds=_SECONDS + 10)


def _eventually(read: Callable[[], tuple[str, str]]) -> tuple[str, str]:
    ends_at = time.monotonic() + _SECONDS
    while True:
        try:
            return read()
        except ToolFailed:
            assert time.monotonic() < ends_at
            time.sleep(0.5)


def test_the_pods_of_broker_and_database_are_deleted_and_everything_is_there(
    shop: ClusterShop, customers: Customers
) -> None:
    before = _stored(shop)
    with customers.ordering() as seen:
        shop.namespace.kubectl("delete", "pod", "nats-0", "postgresql-0")
        _until_ready(shop)

    assert _stored(shop) == before
    assert seen.broken == {}


def test_a_release_that_was_removed_finds_its_claims_when_it_is_installed_again(
    shop: ClusterShop, customers: Customers
) -> None:
    before = _stored(shop)
    with customers.ordering() as first:
        pass
    given = ("get", "values", shop.release.name, "--output=json")
    values = json.loads(shop.namespace.helm(*given))
    shop.release.uninstall()
    assert len(shop.namespace.read("persistentvolumeclaims")["items"]) == len(_SERVERS)

    # The passwords of the database are new.
    shop.release.install(values)

    assert _eventually(lambda: _stored(shop)) == before
    with customers.ordering() as second:
        pass
    # The laws cover all orders since the customers started.
    assert (first.broken, second.broken) == ({}, {})
