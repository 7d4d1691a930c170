"""Upgrades while customers order: no request fails, no event is lost, every law holds.

Each service has one replica, which is the hardest case: the new pod must be ready before the old
one stops.
"""

import pytest
from cluster_customers import Customers
from cluster_upgrades import assert_nothing_failed, push_again, versions

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


def test_an_upgrade_of_one_service_after_the_other_fails_no_request(
    shop: ClusterShop, customers: Customers
) -> None:
    tag = push_again(shop, "one")
    with customers.ordering() as seen:
        for service in shop.platform.services:
            shop.release.upgrade({service.name: {"image": {"tag": tag}}})

    assert versions(shop) == {tag}
    assert_nothing_failed(seen)


def test_an_upgrade_of_all_services_at_once_fails_no_request(
    shop: ClusterShop, customers: Customers
) -> None:
    tag = push_again(shop, "all")
    each = {service.name: {"image": {"tag": tag}} for service in shop.platform.services}
    with customers.ordering() as seen:
        shop.release.upgrade(each)

    assert versions(shop) == {tag}
    assert_nothing_failed(seen)


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
    assert tag not in versions(shop)
    assert_nothing_failed(forward)
    assert_nothing_failed(back)
