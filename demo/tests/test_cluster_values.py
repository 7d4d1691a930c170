"""The values that the demo passes to the chart, and its addresses on a cluster."""

import pytest

from demo.cluster.addresses import addresses, caller_values
from demo.remote_platform import find_platform
from devkit.cluster.release import merged
from devkit.describing.description import PlatformDescription
from devkit.describing.reading import describe_platform
from devkit.workspace import find_workspace

pytestmark = pytest.mark.unit


@pytest.fixture(scope="module")
def described() -> PlatformDescription:
    return describe_platform(find_workspace())


def test_the_addresses_of_the_cluster_are_valid_for_the_demo(
    described: PlatformDescription,
) -> None:
    platform = find_platform(addresses(described, "http://10.0.0.1:80"))

    assert platform.gateways == ("http://10.0.0.1:80",)
    assert {address.host for address in platform.addresses} == {
        f"{service.name}-headless" for service in described.services if service.grpc
    }


def test_every_service_admits_the_demo_to_each_of_its_contracts(
    described: PlatformDescription,
) -> None:
    callers = {
        name: values["extraCallers"]["demo"] for name, values in caller_values(described).items()
    }

    assert callers["orders"] == ["shop.orders.v1.OrdersService", "slipway.v1.LedgerService"]
    assert callers["gateway"] == []
    assert callers.keys() == {service.name for service in described.services}


def test_values_are_merged_by_their_keys_and_the_later_one_wins() -> None:
    assert merged({"a": {"b": 1, "c": [1]}}, {"a": {"c": [2]}}, {"d": None}) == {
        "a": {"b": 1, "c": [2]},
        "d": None,
    }
