"""The end of a canary, as the pods' figures tell it."""

from pathlib import Path

import pytest
from canary_cluster import FakeNamespace
from rich.console import Console

from devkit.canary.ending import abort
from devkit.canary.lanes import Lanes
from devkit.canary.progress import Progress
from devkit.canary.record import Record
from devkit.canary.session import Session
from devkit.canary.situation import Situation, read_situation
from devkit.canary.target import Target
from devkit.canary.waiting import Stop

pytestmark = pytest.mark.unit


def lanes(stable: int, canary: int) -> Lanes:
    return Lanes(stable, canary, frozenset({50}), streams=2, complete=True)


def test_lanes_that_both_versions_count_do_not_hold_up_an_abort(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Pods measure at different moments, so that a lane that moves is counted by both."""
    namespace = FakeNamespace()
    namespace.runs_canary("v2", 50)
    target = Target(namespace, "orders", "shop", tmp_path, "")
    situation = read_situation(target)
    readings = iter([lanes(20, 20), lanes(40, 20), lanes(40, 0)])
    monkeypatch.setattr("devkit.canary.ending.read_lanes", lambda _: next(readings))
    monkeypatch.setattr("devkit.canary.ending._LOOK_SECONDS", 0)
    record = Record(target, tmp_path / "record.jsonl")
    session = Session(target, record, Progress(Console(width=200)), Stop(), rollout_seconds=0.1)
    has_lanes = Situation(situation.stable, situation.canary, "", situation.weight, lanes=True)
    abort(session, has_lanes, "by hand", seconds=1)
    assert "stable reads all 40 lanes" in capsys.readouterr().out
