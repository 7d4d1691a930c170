"""Upgrades while customers order, in a mesh: each pod starts and stops with its sidecar."""

import pytest
from cluster_customers import Customers
from cluster_upgrades import assert_nothing_failed, push_again, versions

from demo.cluster.shop import ClusterShop

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900)]


@pytest.fixture(scope="module")
def sidecars() -> bool:
    return True


def test_an_upgrade_of_all_services_at_once_fails_no_request(
    shop: ClusterShop, customers: Customers
) -> None:
    tag = push_again(shop, "meshed")
    each = {service.name: {"image": {"tag": tag}} for service in shop.platform.services}
    with customers.ordering() as upgraded:
        shop.release.upgrade(each)
    assert versions(shop) == {tag}
    with customers.ordering() as rolled_back:
        shop.release.roll_back()
    assert versions(shop) == {shop.tag}
    assert_nothing_failed(upgraded)
    assert_nothing_failed(rolled_back)
