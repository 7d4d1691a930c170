"""`slipway canary` with real orders: a good canary is promoted, a bad one aborted by itself."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from canary_command import CanaryCommand, ended
from canary_images import CanaryImages, Version
from charts import ROOT
from cluster_customers import Customers
from cluster_prometheus import scraping
from prometheus_server import needs_prometheus

from demo.cluster.shop import ClusterShop
from devkit.canary.lease import Lease
from devkit.canary.target import Target
from devkit.cluster.namespace import Namespace
from devkit.errors import DevkitError

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

_SERVICE = "orders"
_ORDERS_PER_SECOND = 10


@pytest.fixture
def command(shop: ClusterShop, tmp_path: Path) -> Iterator[CanaryCommand]:
    """The command; a canary that a test leaves is aborted."""
    command = CanaryCommand(shop, _SERVICE, tmp_path)
    yield command
    if command.canary_runs():
        command.run("abort")


@pytest.fixture(scope="module")
def images(shop: ClusterShop) -> CanaryImages:
    """Images of canaries."""
    return CanaryImages(shop)


@pytest.fixture(scope="module")
def good(images: CanaryImages) -> str:
    """The tag of an image with the same code as the stable version."""
    return images.push(Version(_SERVICE, "none"))


@pytest.fixture(scope="module")
def bad(images: CanaryImages) -> str:
    """The tag of an image whose handlers fail for 3 percent of the orders."""
    return images.push(Version(_SERVICE, "fails"))


def until(holds: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < ends_at
        time.sleep(1)


def test_a_bad_canary_is_aborted_at_its_first_step_with_the_figure_that_failed(
    shop: ClusterShop, customers: Customers, command: CanaryCommand, bad: str
) -> None:
    before = command.stable_tag()
    with customers.ordering(_ORDERS_PER_SECOND) as seen:
        code, output = ended(command.start(bad, "--steps", "50,100", "--interval", "20s"))
    assert code == 1
    assert "step 1/2" in output
    assert "step 2/2" not in output
    assert "was aborted: failed events" in output
    assert not command.canary_runs()
    assert command.stable_tag() == before
    assert any(each.startswith("CanaryAborted: ") for each in command.recorded())
    assert (seen.failed, seen.broken) == ({}, {})


def test_a_command_that_is_interrupted_leaves_the_canary_and_another_ends_it(
    shop: ClusterShop, customers: Customers, command: CanaryCommand, good: str
) -> None:
    hour = ("--steps", "5,100", "--interval", "1h")
    started = command.start(good, *hour)
    until(lambda: any(each.startswith("CanaryStep: 5 %") for each in command.recorded()))
    code, output = ended(command.start(good, *hour))
    assert (code, "is being changed by" in output) == (1, True)
    started.send_signal(signal.SIGINT)
    code, output = ended(started)
    assert (code, "the canary stays as it is" in output) == (130, True)

    code, output = command.run("status")
    assert code == 0
    assert "5 % of the requests and lanes" in output
    assert "the canary reads 2 of 40 lanes" in output

    started = command.start(good, *hour)
    until(lambda: any(each.startswith("CanaryContinued") for each in command.recorded()))
    code, output = command.run("abort")
    assert (code, "stable reads all 40 lanes" in output) == (0, True)
    code, output = ended(started)
    assert (code, "another command has taken over" in output) == (1, True)
    assert not command.canary_runs()


def test_an_image_that_does_not_exist_is_refused_before_anything_is_changed(
    shop: ClusterShop, command: CanaryCommand
) -> None:
    revision = shop.namespace.helm("history", shop.release.name)
    code, output = ended(command.start("never-built"))
    assert code == 1
    assert "ImagePullBackOff" in output
    assert shop.namespace.helm("history", shop.release.name) == revision


def test_a_good_canary_is_promoted(
    shop: ClusterShop, customers: Customers, command: CanaryCommand, good: str
) -> None:
    with customers.ordering(_ORDERS_PER_SECOND) as seen:
        options = ("--steps", "50,100", "--interval", "20s", "--promote")
        code, output = ended(command.start(good, *options))
    assert code == 0, output
    assert command.stable_tag() == good
    assert not command.canary_runs()
    assert command.recorded()[-1].startswith("CanaryPromoted: ")
    assert seen.placed > 0
    assert (seen.failed, seen.broken) == ({}, {})


@needs_prometheus
def test_canaries_are_aborted_and_promoted_by_the_figures_of_prometheus(
    shop: ClusterShop,
    customers: Customers,
    command: CanaryCommand,
    images: CanaryImages,
    bad: str,
    tmp_path: Path,
) -> None:
    good = images.push(Version(_SERVICE, "none", seed=2))
    with scraping(shop, _SERVICE, tmp_path) as url, customers.ordering(_ORDERS_PER_SECOND) as seen:
        options = ("--steps", "50,100", "--interval", "30s", "--prometheus", url)
        code, output = ended(command.start(bad, *options))
        assert (code, "was aborted: failed events" in output) == (1, True)
        code, output = ended(command.start(good, *options, "--promote"))
        assert (code, command.stable_tag()) == (0, good)
    assert (seen.failed, seen.broken) == ({}, {})


def test_an_abort_takes_the_lease_while_its_holder_renews_it(
    namespace: Namespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("devkit.canary.lease._RENEW_SECONDS", 0.1)
    target = Target(namespace, _SERVICE, _SERVICE, ROOT, "")
    with Lease(target, {"command": "start"}, "one").take() as held:
        with pytest.raises(DevkitError, match="is being changed by one"):
            Lease(target, {"command": "promote"}, "two").take()
        Lease(target, {"command": "abort"}, "two").take(by_force=True).give_back()
        assert held.lost.wait(60)
    assert Lease(target, {"command": "start"}, "three").take().holder.startswith("three")
