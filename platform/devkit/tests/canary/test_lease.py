"""One command at a time changes a canary, and learns within seconds that another has taken it."""

import threading
from pathlib import Path

import pytest
from canary_cluster import FakeNamespace

from devkit.canary.lease import Lease
from devkit.canary.target import Target
from devkit.cluster.tools import ToolFailed
from devkit.errors import DevkitError

pytestmark = pytest.mark.unit


@pytest.fixture
def target(tmp_path: Path) -> Target:
    return Target(FakeNamespace(), "orders", "shop", tmp_path, "")


def test_a_second_command_is_refused_and_told_who_changes_the_canary(target: Target) -> None:
    with (
        Lease(target, {"command": "start"}, "one").take(),
        pytest.raises(DevkitError, match=r"being changed by one"),
    ):
        Lease(target, {"command": "weight"}, "two").take()


def test_a_command_learns_within_seconds_that_an_abort_has_taken_the_canary(
    target: Target,
) -> None:
    lost = threading.Event()
    with Lease(target, {"command": "start"}, "one", lost).take():
        Lease(target, {"command": "abort"}, "two").take(by_force=True)
        assert lost.wait(5)


def test_a_lease_that_another_command_has_taken_is_not_given_back(target: Target) -> None:
    with Lease(target, {"command": "start"}, "one").take():
        Lease(target, {"command": "abort"}, "two").take(by_force=True)
    with pytest.raises(DevkitError, match="being changed by two"):
        Lease(target, {"command": "weight"}, "three").take()


def test_a_command_that_has_done_its_work_does_not_fail_because_its_lease_cannot_be_ended(
    target: Target, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> str:
        raise ToolFailed("the API server does not answer")

    with Lease(target, {"command": "promote"}, "one").take():
        monkeypatch.setattr(FakeNamespace, "kubectl", refuse)
