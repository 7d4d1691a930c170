"""Lanes are as asked when all pods of both versions say so."""

from pathlib import Path

import pytest
from canary_cluster import FakeNamespace

from devkit.canary.lanes import Lanes, lanes_of, wait_for_lanes
from devkit.canary.target import Target
from devkit.canary.waiting import Stop
from devkit.cluster.tools import ToolFailed

pytestmark = pytest.mark.unit


def metrics(lanes: int | None, weight: int | None = None) -> str:
    """Return what a pod's /metrics tells about lanes."""
    told = {
        "event_lanes": lanes,
        "event_lanes_weight": weight,
        "event_lanes_stopped": 0,
        "event_streams": 2,
    }
    lines = [f"{name} {value}.0" for name, value in told.items() if value is not None]
    return "\n".join(["# HELP event_lanes Lanes this replica reads, over all streams.", *lines])


@pytest.mark.parametrize(
    ("stable", "canary", "weight", "as_asked"),
    [
        ([metrics(38)], [metrics(2, 5)], 5, True),
        ([metrics(20), metrics(18)], [metrics(1, 5), metrics(1, 5)], 5, True),
        ([metrics(0)], [metrics(40, 100)], 100, True),
        ([metrics(40)], [metrics(0, 0)], 0, True),
        # Two of forty lanes are the nearest to 6 percent of twenty lanes for each of two streams.
        ([metrics(38)], [metrics(2, 6)], 6, True),
        ([metrics(38)], [metrics(2, 5)], 10, False),
        ([metrics(38)], [metrics(2, 10)], 10, False),
        ([metrics(36)], [metrics(4, 10), metrics(0, 5)], 10, False),
        ([metrics(36)], [metrics(4, 10), ""], 10, False),
        (["", metrics(36)], [metrics(4, 10)], 10, False),
        ([metrics(40)], [], 10, False),
        # The stable version has given its lanes away, and the canary has not measured since.
        ([metrics(0)], [metrics(20, 100)], 100, False),
    ],
)
def test_lanes_are_compared_with_the_weight(
    stable: list[str], canary: list[str], weight: int, as_asked: bool
) -> None:
    assert lanes_of(stable, canary).are_as_asked(weight) is as_asked


def test_lanes_are_told_as_a_part_of_all() -> None:
    assert str(lanes_of([metrics(38)], [metrics(2, 5)])) == "2 of 40 lanes"


@pytest.mark.parametrize(
    ("stable", "canary", "all_at_stable"),
    [
        ([metrics(40)], [], True),
        ([metrics(25), metrics(15)], [metrics(0, 0)], True),
        # The canary's pod has not measured since its lanes went to the stable version.
        ([metrics(40)], [metrics(20, 50)], False),
        # The canary's pod is dead, and no pod has taken its lanes yet.
        ([metrics(20)], [], False),
        ([""], [], False),
    ],
)
def test_all_lanes_are_at_the_stable_version(
    stable: list[str], canary: list[str], all_at_stable: bool
) -> None:
    assert lanes_of(stable, canary).are_all_at_stable is all_at_stable


def test_lanes_are_waited_for_while_the_cluster_does_not_answer_for_a_moment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter([True])

    def read(_: Target) -> Lanes:
        if next(refusals, False):
            raise ToolFailed("the API server does not answer")
        return lanes_of([metrics(20)], [metrics(20, 50)])

    monkeypatch.setattr("devkit.canary.lanes.read_lanes", read)
    monkeypatch.setattr("devkit.canary.lanes._LOOK_SECONDS", 0)
    target = Target(FakeNamespace(), "orders", "shop", tmp_path, "")
    assert wait_for_lanes(target, 50, 5, Stop(), lambda _: None).canary == 20
