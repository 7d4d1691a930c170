"""Upgrades while customers order: no request fails, no event is lost, every law holds.

Each service has one replica, which is the hardest case: what comes has to be there before what goes
says no.
"""

from collections.abc import Callable

import pytest
from cluster_customers import Customers, Seen

from demo.cluster.shop import ClusterShop
from devkit.cluster.images import push_as
from devkit.cluster.tools import run
from devkit.images.docker import docker

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]

_MIGRATION = """
import sqlalchemy as sa
from alembic import op

revision = "orders_9999"
down_revision = "orders_0001"


def upgrade() -> None:
    op.add_column("orders", sa.Column("remark", sa.String(64)))
"""


@pytest.fixture(scope="module")
def new_tag(shop: ClusterShop) -> Callable[[str], str]:
    """Gives the images of all services a further tag, which a registry takes for a new version."""

    def make(name: str) -> str:
        tag = f"{shop.tag}-{name}"
        for service in shop.platform.services:
            image = service.distribution
            push_as(shop.workspace, f"{image}:{shop.tag}", f"{image}:{tag}", shop.registry)
        return tag

    return make


def _nothing_failed(seen: Seen) -> None:
    assert (seen.failed, seen.broken) == ({}, {})
    assert seen.placed > 20


def _versions(shop: ClusterShop) -> set[str]:
    """The tags of the images that ready pods of services run."""
    pods = shop.namespace.read("pods", "--selector", "track=stable")["items"]
    return {
        pod["spec"]["containers"][0]["image"].rpartition(":")[2]
        for pod in pods
        if "deletionTimestamp" not in pod["metadata"]
    }


def test_an_upgrade_of_one_service_after_the_other_fails_no_request(
    shop: ClusterShop, customers: Customers, new_tag: Callable[[str], str]
) -> None:
    tag = new_tag("one")
    with customers.ordering() as seen:
        for service in shop.platform.services:
            shop.release.upgrade({service.name: {"image": {"tag": tag}}})

    assert _versions(shop) == {tag}
    _nothing_failed(seen)


def test_an_upgrade_of_all_services_at_once_fails_no_request(
    shop: ClusterShop, customers: Customers, new_tag: Callable[[str], str]
) -> None:
    tag = new_tag("all")
    each = {service.name: {"image": {"tag": tag}} for service in shop.platform.services}
    with customers.ordering() as seen:
        shop.release.upgrade(each)

    assert _versions(shop) == {tag}
    _nothing_failed(seen)


def test_a_migration_and_its_roll_back_fail_no_request(
    shop: ClusterShop, customers: Customers, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("image")
    (folder / "9999_remark.py").write_text(_MIGRATION, encoding="utf-8")
    (folder / "Dockerfile").write_text(
        f"FROM slipway-orders:{shop.tag}\nCOPY 9999_remark.py /app/orders/migrations/\n",
        encoding="utf-8",
    )
    tag = f"{shop.tag}-migrates"
    run(docker(), "build", "--quiet", "--tag", f"slipway-orders:{tag}", str(folder), seconds=120)
    push_as(shop.workspace, f"slipway-orders:{tag}", f"slipway-orders:{tag}", shop.registry)

    with customers.ordering() as forward:
        shop.release.upgrade({"orders": {"image": {"tag": tag}}})
    (pod,) = (pod.name for pod in shop.namespace.pods("app=orders") if not pod.leaving)
    migrated = shop.namespace.kubectl("logs", pod, "--container", "migrate")
    with customers.ordering() as back:
        shop.release.roll_back()

    assert migrated.strip().endswith("orders_9999")
    assert tag not in _versions(shop)
    _nothing_failed(forward)
    _nothing_failed(back)
