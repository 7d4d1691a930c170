"""`slipway canary` with real orders: a good canary is promoted, a bad one aborted by itself."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from charts import ROOT
from cluster_customers import Customers

from demo.cluster.shop import ClusterShop
from devkit.canary.lease import Lease
from devkit.canary.target import Target
from devkit.cluster.images import push_as
from devkit.cluster.namespace import Namespace
from devkit.cluster.tools import run
from devkit.errors import DevkitError
from devkit.images.docker import docker

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1200)]

_SERVICE = "orders"
_IMAGE = f"slipway-{_SERVICE}"
# The event that tells which orders a handler is called for; the changed code fails for 3 percent.
_BEFORE = "    orders = tables.lock_orders(tx.session, ids)\n"
_FAULT = """\
    import zlib
    if any(zlib.crc32(order_id.encode()) % 100 < 3 for order_id in ids):
        raise RuntimeError("the canary cannot handle this order")
"""
# The image has bytecode that is used without a look at the source.
_DOCKERFILE = f"""\
FROM {{image}}
USER root
COPY saga.py /app/{_SERVICE}/saga.py
RUN rm -r /app/{_SERVICE}/__pycache__
USER 65532:65532
"""
_ORDERS_PER_SECOND = 10


class Command:
    """`slipway canary` for the service of a shop."""

    def __init__(self, shop: ClusterShop, state: Path) -> None:
        self._shop = shop
        self._environment = {**os.environ, "SLIPWAY_STATE": str(state)}

    def start(self, tag: str, *options: str) -> "subprocess.Popen[str]":
        """Begin `slipway canary start`; its output is one text."""
        return self._begin("start", "--tag", tag, *options)

    def run(self, verb: str, *options: str) -> tuple[int, str]:
        """Return the exit code and the output of a command."""
        return ended(self._begin(verb, *options))

    def _begin(self, verb: str, *options: str) -> "subprocess.Popen[str]":
        where = ("--namespace", self._shop.namespace.name)
        return subprocess.Popen(
            [sys.executable, "-m", "devkit", "canary", verb, _SERVICE, *where, *options],
            cwd=ROOT,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            encoding="utf-8",
        )


def ended(process: "subprocess.Popen[str]") -> tuple[int, str]:
    """Wait for the end of a command; return its exit code and its output."""
    output, _ = process.communicate(timeout=900)
    print(output)
    return process.returncode, output


@pytest.fixture
def command(shop: ClusterShop, tmp_path: Path) -> Iterator[Command]:
    """The command; a canary that a test leaves is aborted."""
    command = Command(shop, tmp_path)
    yield command
    if canary_runs(shop):
        command.run("abort")


@pytest.fixture(scope="module")
def good(shop: ClusterShop) -> str:
    """The tag of an image with the same code as the stable version."""
    tag = f"{shop.tag}-good"
    push_as(shop.workspace, f"{_IMAGE}:{shop.tag}", f"{_IMAGE}:{tag}", shop.registry)
    return tag


@pytest.fixture(scope="module")
def bad(shop: ClusterShop, tmp_path_factory: pytest.TempPathFactory) -> str:
    """The tag of an image whose handlers fail for 3 percent of the orders."""
    folder = tmp_path_factory.mktemp("bad")
    saga = (ROOT / "services/orders/src/orders/saga.py").read_text(encoding="utf-8")
    assert _BEFORE in saga
    (folder / "saga.py").write_text(saga.replace(_BEFORE, _FAULT + _BEFORE), encoding="utf-8")
    dockerfile = _DOCKERFILE.format(image=f"{_IMAGE}:{shop.tag}")
    (folder / "Dockerfile").write_text(dockerfile, encoding="utf-8")
    tag = f"{shop.tag}-bad"
    run(docker(), "build", "--quiet", "--tag", f"{_IMAGE}:{tag}", str(folder), seconds=300)
    push_as(shop.workspace, f"{_IMAGE}:{tag}", f"{_IMAGE}:{tag}", shop.registry)
    return tag


def stable_tag(shop: ClusterShop) -> str:
    spec = shop.namespace.read(f"deployment/{_SERVICE}")["spec"]["template"]["spec"]
    return str(spec["containers"][0]["image"]).rpartition(":")[2]


def canary_runs(shop: ClusterShop) -> bool:
    named = f"deployment/{_SERVICE}-canary"
    return bool(shop.namespace.kubectl("get", named, "--ignore-not-found").strip())


def recorded(shop: ClusterShop) -> list[str]:
    """The events of the canary at the service's Deployment, oldest first."""
    fields = f"involvedObject.kind=Deployment,involvedObject.name={_SERVICE}"
    items = shop.namespace.read("events", "--field-selector", fields)["items"]
    items.sort(key=lambda each: int(each["metadata"]["resourceVersion"]))
    return [f"{e['reason']}: {e['message']}" for e in items if e["reason"].startswith("Canary")]


def until(holds: Callable[[], bool]) -> None:
    ends_at = time.monotonic() + 300
    while not holds():
        assert time.monotonic() < ends_at
        time.sleep(1)


def test_a_bad_canary_is_aborted_at_its_first_step_with_the_figure_that_failed(
    shop: ClusterShop, customers: Customers, command: Command, bad: str
) -> None:
    before = stable_tag(shop)
    with customers.ordering(_ORDERS_PER_SECOND) as seen:
        code, output = ended(command.start(bad, "--steps", "50,100", "--interval", "20s"))
    assert code == 1
    assert "step 1/2" in output
    assert "step 2/2" not in output
    assert "was aborted: failed events" in output
    assert not canary_runs(shop)
    assert stable_tag(shop) == before
    assert any(each.startswith("CanaryAborted: ") for each in recorded(shop))
    assert (seen.failed, seen.broken) == ({}, {})


def test_a_command_that_is_interrupted_leaves_the_canary_and_another_ends_it(
    shop: ClusterShop, customers: Customers, command: Command, good: str
) -> None:
    hour = ("--steps", "5,100", "--interval", "1h")
    started = command.start(good, *hour)
    until(lambda: any(each.startswith("CanaryStep: 5 %") for each in recorded(shop)))
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
    until(lambda: any(each.startswith("CanaryContinued") for each in recorded(shop)))
    code, output = command.run("abort")
    assert (code, "stable reads all lanes" in output) == (0, True)
    code, output = ended(started)
    assert (code, "another command has taken over" in output) == (1, True)
    assert not canary_runs(shop)


def test_an_image_that_does_not_exist_is_refused_before_anything_is_changed(
    shop: ClusterShop, command: Command
) -> None:
    revision = shop.namespace.helm("history", shop.release.name)
    code, output = ended(command.start("never-built"))
    assert code == 1
    assert "ImagePullBackOff" in output
    assert shop.namespace.helm("history", shop.release.name) == revision


def test_a_good_canary_is_promoted(
    shop: ClusterShop, customers: Customers, command: Command, good: str
) -> None:
    with customers.ordering(_ORDERS_PER_SECOND) as seen:
        options = ("--steps", "50,100", "--interval", "20s", "--promote")
        code, output = ended(command.start(good, *options))
    assert code == 0, output
    assert stable_tag(shop) == good
    assert not canary_runs(shop)
    assert recorded(shop)[-1].startswith("CanaryPromoted: ")
    assert seen.placed > 0
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
