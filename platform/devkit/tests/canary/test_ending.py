"""The ends of a canary: what is kept and said, also if the cluster does not answer at the end."""

from pathlib import Path
from typing import Any

import pytest
from canary_cluster import FakeNamespace
from rich.console import Console

from devkit.canary.ending import abort, promote
from devkit.canary.lanes import Lanes
from devkit.canary.progress import Progress
from devkit.canary.record import Record
from devkit.canary.rollout import RolloutFailed
from devkit.canary.session import Session
from devkit.canary.situation import read_situation
from devkit.canary.target import Target
from devkit.canary.waiting import Stop
from devkit.cluster.tools import ToolFailed

pytestmark = pytest.mark.unit


@pytest.fixture
def namespace() -> FakeNamespace:
    return FakeNamespace()


@pytest.fixture
def session(namespace: FakeNamespace, tmp_path: Path) -> Session:
    """The work on the canary of orders, with what it prints on the standard output."""
    target = Target(namespace, "orders", "shop", tmp_path, "")
    record = Record(target, tmp_path / "record.jsonl")
    progress = Progress(Console(width=300))
    return Session(target, record, progress, Stop(), rollout_seconds=0.1)


def lanes(stable: int, canary: int) -> Lanes:
    return Lanes(stable, canary, frozenset({50}), streams=2, complete=True)


def test_lanes_that_both_versions_count_do_not_hold_up_an_abort(
    session: Session,
    namespace: FakeNamespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Pods measure at different moments, so that a lane that moves is counted by both."""
    namespace.runs_canary("v2", 50)
    namespace.weight_files.append("orders-canary")
    readings = iter([lanes(20, 20), lanes(40, 20), lanes(40, 0)])
    monkeypatch.setattr("devkit.canary.ending.read_lanes", lambda _: next(readings))
    monkeypatch.setattr("devkit.canary.ending._LOOK_SECONDS", 0)
    abort(session, read_situation(session.target), "by hand", seconds=1)
    assert "stable reads all 40 lanes" in capsys.readouterr().out


def test_an_abort_whose_lanes_cannot_be_read_is_recorded(
    session: Session, namespace: FakeNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    namespace.weight_files.append("orders-canary")

    def refuse(*_: Any) -> None:
        raise ToolFailed("the API server does not answer")

    monkeypatch.setattr("devkit.canary.ending.read_lanes", refuse)
    monkeypatch.setattr("devkit.canary.ending._LANES_SECONDS", 0.1)
    namespace.runs_canary("v2", 50)
    abort(session, read_situation(session.target), "by hand", seconds=60)
    assert "canary v2 aborted: by hand" in session.record.file.read_text(encoding="utf-8")


def test_an_abort_after_a_half_promotion_says_how_stable_gets_its_image_back(
    session: Session, namespace: FakeNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace.runs_canary("v2", 100)
    namespace.not_ready.append("orders")
    with pytest.raises(RolloutFailed):
        promote(session, read_situation(session.target))
    assert "CanaryPromotionFailed" in session.record.file.read_text(encoding="utf-8")
    abort(session, read_situation(session.target), "by hand", seconds=60)
    printed = capsys.readouterr().out
    assert "stable keeps v2, which a promotion gave it" in printed
    assert "--set-string=image.tag=v1" in printed
    assert "stable keeps v2" in session.record.file.read_text(encoding="utf-8")


def test_an_abort_before_any_promotion_says_nothing_of_stable(
    session: Session, namespace: FakeNamespace, capsys: pytest.CaptureFixture[str]
) -> None:
    namespace.runs_canary("v2", 50)
    abort(session, read_situation(session.target), "by hand", seconds=60)
    assert "stable keeps" not in capsys.readouterr().out
