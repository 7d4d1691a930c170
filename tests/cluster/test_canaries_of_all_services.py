"""A canary of every service at once, and an upgrade of everything else meanwhile, in a mesh."""

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from canary_command import CanaryCommand
from charts import ROOT
from cluster_customers import Customers
from cluster_node import Node
from cluster_upgrades import assert_nothing_failed, push_again, versions
from cluster_volumes import volumes_of_a_class

from demo.cluster.shop import ClusterShop
from devkit.canary.lanes import wait_for_lanes
from devkit.canary.pods import Track, read_metrics, read_pods
from devkit.canary.target import Target, find_target
from devkit.canary.waiting import Stop

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1500)]

_WEIGHT = 50
_ORDERS = 300
_LANES_SECONDS = 240
# Probes and readings of metrics are not counted, nor those of ledgers, which the customers address
# to one pod.
_DONE = {
    "calls": re.compile(r'^grpc_server_handled_total\{(?!.*Ledger").*\} (\S+)$', re.MULTILINE),
    "requests": re.compile(r'^http_requests_total\{.*handler="/orders".*\} (\S+)$', re.MULTILINE),
    "events": re.compile(r"^events_handled_total\{.*\} (\S+)$", re.MULTILINE),
}


@pytest.fixture(scope="module")
def sidecars() -> bool:
    return True


@pytest.fixture(scope="module")
def values(node: Node) -> Iterator[Mapping[str, Any]]:
    """A broker that keeps its streams when its pod is replaced."""
    with volumes_of_a_class(node, 1) as name:
        yield {"nats": {"storage": {"enabled": True, "storageClass": name}}}


@pytest.fixture
def targets(shop: ClusterShop) -> Iterator[list[Target]]:
    """Every service of the release; canaries that a test leaves are ended."""
    names = [service.name for service in shop.platform.services]
    yield [find_target(ROOT, shop.namespace, name) for name in names]
    none = {"canary": {"image": {"tag": ""}, "weight": 0}}
    shop.release.upgrade(dict.fromkeys(names, none))


def weigh(shop: ClusterShop, targets: list[Target], weight: int) -> None:
    """Give all canaries this weight in one upgrade, and wait until their lanes have followed."""
    shop.release.upgrade({each.service: {"canary": {"weight": weight}} for each in targets})
    with ThreadPoolExecutor() as pool:
        for said in pool.map(lambda each: followed(each, weight), targets):
            print(said, flush=True)


def followed(target: Target, weight: int) -> str:
    if not has_lanes(target):
        return f"{target.service}: {weight} %, reads no lanes"
    lanes = wait_for_lanes(target, weight, _LANES_SECONDS, Stop(), lambda _: None)
    return f"{target.service}: {weight} %, the canary takes {lanes}"


def has_lanes(target: Target) -> bool:
    named = f"configmap/{target.canary}"
    return bool(target.namespace.kubectl("get", named, "--ignore-not-found").strip())


def done(targets: list[Target]) -> Counter[tuple[str, str, Track]]:
    """Count what each track has done since its pods started, by service and kind of work."""
    found = Counter[tuple[str, str, Track]]()
    for target in targets:
        pods = [pod for pod in read_pods(target) if pod.ready and not pod.leaving]
        texts = read_metrics(target.namespace, pods)
        for pod in pods:
            for what, pattern in _DONE.items():
                counts = map(float, pattern.findall(texts[pod.name]))
                found[target.service, what, pod.track] += round(sum(counts))
    return found


def tell(work: Counter[tuple[str, str, Track]]) -> None:
    """Print what each track has done, and the canary's share."""
    for service, what in dict.fromkeys((service, what) for service, what, _ in work):
        stable, canary = work[service, what, "stable"], work[service, what, "canary"]
        share = f"{100 * canary / (stable + canary):.0f} %"
        print(f"{service}: {stable} {what} by stable, {canary} by the canary ({share})")


def test_a_canary_of_every_service_at_once_fails_no_request(
    shop: ClusterShop, customers: Customers, targets: list[Target], tmp_path: Path
) -> None:
    tag = push_again(shop, "canary")
    with customers.ordering(first=_ORDERS) as seen:
        start = {"canary": {"image": {"tag": tag}, "weight": 0}}
        shop.release.upgrade({each.service: start for each in targets})
        weigh(shop, targets, _WEIGHT)
        before = done(targets)
    tell(done(targets) - before)
    assert_nothing_failed(seen)

    with customers.ordering() as promoted:
        for each in targets:
            code, output = CanaryCommand(shop, each.service, tmp_path).run("promote")
            assert code == 0, output
    assert versions(shop) == {tag}
    assert_nothing_failed(promoted)


def test_an_upgrade_of_the_platform_during_a_canary_leaves_it_its_share(
    shop: ClusterShop, customers: Customers, targets: list[Target]
) -> None:
    """All stable images and the broker are replaced; the canary of each service stays."""
    canary, upgraded = push_again(shop, "kept"), push_again(shop, "upgraded")
    start = {"canary": {"image": {"tag": canary}, "weight": 0}}
    shop.release.upgrade({each.service: start for each in targets})
    weigh(shop, targets, _WEIGHT)
    before = shop.namespace.read("pod/nats-0")["metadata"]["uid"]
    with customers.ordering() as seen:
        images = {each.service: {"image": {"tag": upgraded}} for each in targets}
        broker = {"nats": {"resources": {"requests": {"memory": "65Mi"}}}}
        shop.release.upgrade({**images, **broker})
    assert shop.namespace.read("pod/nats-0")["metadata"]["uid"] != before
    assert versions(shop) == {upgraded}
    for each in targets:
        if has_lanes(each):
            print(followed(each, _WEIGHT))
        of_canary = [pod for pod in read_pods(each) if pod.track == "canary"]
        assert {pod.image.rpartition(":")[2] for pod in of_canary} == {canary}
    assert_nothing_failed(seen)

    earlier = done(targets)
    with customers.ordering(first=_ORDERS) as after:
        pass
    tell(done(targets) - earlier)
    assert_nothing_failed(after)
