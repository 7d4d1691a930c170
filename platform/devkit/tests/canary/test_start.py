"""`slipway canary start` and what else may happen meanwhile: no canary serves unjudged."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from canary_cluster import FakeNamespace
from canary_sides import Sides
from rich.console import Console

from devkit.canary.analysis import GATES, Readings
from devkit.canary.declarations import CannotStart
from devkit.canary.image import Image
from devkit.canary.observation import Observer, Timing
from devkit.canary.pod_readings import ReadingsSource
from devkit.canary.progress import Progress
from devkit.canary.record import Record
from devkit.canary.release import CanaryRelease
from devkit.canary.rollout import RolloutFailed, wait_rolled_out
from devkit.canary.session import Session
from devkit.canary.situation import read_situation
from devkit.canary.start import CanaryAborted, CanaryNotAborted, Start
from devkit.canary.target import Target
from devkit.canary.waiting import Interrupted, Stop, TakenOver
from devkit.canary.weight import change_on_cluster
from devkit.cluster.tools import ToolFailed
from devkit.errors import WrongUsage

pytestmark = pytest.mark.unit

OTHER_RUNS = "UPGRADE FAILED: another operation (install/upgrade/rollback) is in progress"
OTHER_BEGAN_FIRST = "UPGRADE FAILED: release: already exists"
TIMING = Timing(interval=0.04, unreadable=0.05)


class Good:
    """Readings of a canary that is as good as stable; the first `failing` cannot be read."""

    def __init__(self, failing: int = 0, said: str = "the API server does not answer") -> None:
        self._sides = Sides()
        self._failing = failing
        self._said = said

    def read(self) -> Readings:
        self._failing -= 1
        if self._failing >= 0:
            raise ToolFailed(self._said)
        self._sides.stable.answer(900)
        self._sides.canary.answer(300)
        return self._sides.read()[-1]


@pytest.fixture
def namespace() -> FakeNamespace:
    return FakeNamespace()


@pytest.fixture
def session(namespace: FakeNamespace, tmp_path: Path) -> Session:
    target = Target(namespace, "orders", "shop", tmp_path, "")
    record = Record(target, tmp_path / "record.jsonl")
    return Session(target, record, Progress(Console(quiet=True)), Stop(), rollout_seconds=0.1)


def start(
    session: Session,
    *steps: int,
    source: ReadingsSource | None = None,
    promotes: bool = False,
) -> None:
    observer = Observer(source or Good(), GATES, TIMING, session.stop)
    Start(session, observer, "v2", steps, promotes).run()


def test_a_continued_canary_gets_no_requests_before_its_pods_are_ready(
    session: Session, namespace: FakeNamespace
) -> None:
    namespace.runs_canary("v2", 0)
    namespace.ready.append(False)
    with pytest.raises(CanaryAborted, match="is not ready"):
        start(session, 50)
    assert namespace.weights == ["0"]


def test_no_header_leads_to_a_canary_before_its_pods_are_ready(
    session: Session, namespace: FakeNamespace
) -> None:
    session.release.start(Image(tag="v2"))
    assert namespace.commands[0]["canary.weight"] == "0"
    assert namespace.commands[0]["canary.matchAtZero"] == "false"


def test_a_canary_above_all_steps_is_neither_passed_nor_promoted(
    session: Session, namespace: FakeNamespace
) -> None:
    namespace.runs_canary("v2", 50)
    with pytest.raises(WrongUsage, match="50 % already"):
        start(session, 5, 10, promotes=True)
    assert namespace.commands == []


def test_a_canary_continued_at_100_percent_repeats_the_step_before(
    session: Session, namespace: FakeNamespace
) -> None:
    namespace.runs_canary("v2", 100)
    start(session, 10, 50, 100)
    assert namespace.weights == ["50", "100"]


def test_steps_without_a_figure_of_stable_are_refused(
    session: Session, namespace: FakeNamespace
) -> None:
    with pytest.raises(WrongUsage, match="nothing to compare"):
        start(session, 100)
    assert namespace.commands == []


def test_a_step_that_will_hold_for_long_says_once_how_long(
    session: Session,
    namespace: FakeNamespace,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    class Slow(Good):
        def read(self) -> Readings:
            if len(self._sides.readings) > 20:
                session.stop.requested.set()
            self._sides.stable.answer(9)
            self._sides.canary.answer(1)
            return self._sides.read()[-1]

    namespace.runs_canary("v2", 10)
    monkeypatch.setattr("devkit.canary.start._LONG_SECONDS", 0.1)
    slow = replace(session, progress=Progress(Console(width=300)))
    observer = Observer(Slow(), GATES, Timing(interval=0.4), slow.stop)
    with pytest.raises(Interrupted):
        Start(slow, observer, "v2", [10]).run()
    printed = capsys.readouterr().out
    assert printed.count("requests/s; a shadow answers sooner") == 1
    assert "slipway canary shadow orders --tag v2" in printed


def test_figures_that_cannot_be_read_for_a_moment_are_waited_for(
    session: Session, namespace: FakeNamespace
) -> None:
    namespace.runs_canary("v2", 10)
    start(session, 10, 50, source=Good(failing=1))
    assert namespace.weights == ["50"]


def test_a_canary_whose_figures_can_no_longer_be_read_is_aborted(
    session: Session, namespace: FakeNamespace
) -> None:
    namespace.runs_canary("v2", 10)
    with pytest.raises(CanaryAborted, match="the API server does not answer"):
        start(session, 10, source=Good(failing=1000))
    assert namespace.values["canary"]["image"]["tag"] == ""


def test_a_weight_that_helm_refuses_aborts_the_canary(
    session: Session, namespace: FakeNamespace
) -> None:
    def refuse(values: dict[str, str]) -> None:
        if values.get("canary.weight") == "50":
            raise ToolFailed("helm upgrade failed")

    namespace.runs_canary("v2", 10)
    namespace.before_upgrade.append(refuse)
    with pytest.raises(CanaryAborted, match="helm upgrade failed"):
        start(session, 10, 50)
    assert namespace.values["canary"] == {
        "image": {"tag": "", "digest": "", "reference": ""},
        "weight": 0,
        "matchAtZero": False,
    }


def test_a_canary_that_helm_does_not_deploy_ends_with_helms_reason(
    session: Session, namespace: FakeNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: dict[str, str]) -> None:
        raise ToolFailed("helm upgrade failed")

    for types in ("types_of_image", "types_of_stable"):
        monkeypatch.setattr(f"devkit.canary.start.{types}", lambda *_: frozenset())
    namespace.before_upgrade.append(refuse)
    with pytest.raises(CanaryAborted, match="helm upgrade failed"):
        start(session, 50)


def test_a_tool_that_ctrl_c_has_ended_does_not_abort_the_canary(
    session: Session, namespace: FakeNamespace
) -> None:
    def interrupted(_: dict[str, str]) -> None:
        session.stop.requested.set()
        raise ToolFailed("signal: interrupt")

    namespace.runs_canary("v2", 10)
    namespace.before_upgrade.append(interrupted)
    with pytest.raises(Interrupted):
        start(session, 50)
    assert namespace.values["canary"]["image"]["tag"] == "v2"


def test_a_canary_that_another_command_has_aborted_is_not_promoted(
    session: Session, namespace: FakeNamespace
) -> None:
    class AbortedAtTheEnd(Good):
        def read(self) -> Readings:
            namespace.values["canary"] = FakeNamespace().values["canary"]
            return super().read()

    namespace.runs_canary("v2", 10)
    with pytest.raises(TakenOver):
        start(session, 10, source=AbortedAtTheEnd(), promotes=True)
    assert namespace.values["image"]["tag"] == "v1"


def test_a_command_from_which_the_canary_was_taken_does_not_deploy_it_when_its_turn_comes(
    session: Session, namespace: FakeNamespace
) -> None:
    def taken_while_it_waits(_: dict[str, str]) -> None:
        session.stop.taken_over.set()
        raise ToolFailed(OTHER_RUNS)

    namespace.before_upgrade.append(taken_while_it_waits)
    with pytest.raises(TakenOver):
        session.release.start(Image(tag="v2"))
    assert len(namespace.weights) == 1


def test_a_promotion_that_has_not_ended_is_not_taken_for_a_mistake_of_the_tag(
    session: Session, namespace: FakeNamespace
) -> None:
    namespace.runs_canary("v2", 100)
    namespace.values["image"]["tag"] = "v2"
    with pytest.raises(WrongUsage, match=r"promotion of v2 has not ended: .*canary promote orders"):
        start(session, 50, 100)


def test_an_abort_is_tried_again_while_the_cluster_does_not_answer(
    session: Session, namespace: FakeNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    refusals = iter([True, True, False])

    def refuse(values: dict[str, str]) -> None:
        if values.get("canary.weight") == "0" and next(refusals):
            raise ToolFailed("the API server does not answer")

    monkeypatch.setattr("devkit.canary.start._REPEAT_SECONDS", 0)
    namespace.runs_canary("v2", 10)
    namespace.before_upgrade.append(refuse)
    with pytest.raises(CanaryAborted, match="the figures cannot be read"):
        start(session, 10, source=Good(failing=1000, said="the figures cannot be read"))
    assert namespace.values["canary"]["image"]["tag"] == ""
    assert "CanaryAborted" in session.record.file.read_text(encoding="utf-8")


def test_a_canary_that_cannot_be_aborted_is_said_to_serve_unjudged(
    session: Session, namespace: FakeNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(_: dict[str, str]) -> None:
        raise ToolFailed("the API server does not answer")

    monkeypatch.setattr("devkit.canary.start._ABORT_SECONDS", 0)
    namespace.runs_canary("v2", 10)
    namespace.before_upgrade.append(refuse)
    with pytest.raises(CanaryNotAborted, match=r"still serves: .*slipway canary abort orders"):
        start(session, 10, source=Good(failing=1000))
    assert "CanaryNotAborted" in session.record.file.read_text(encoding="utf-8")


def test_a_rollout_is_waited_for_while_the_cluster_does_not_answer_for_a_moment(
    session: Session, namespace: FakeNamespace, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = iter([True, False])
    read = FakeNamespace.kubectl

    def refuse_once(self: FakeNamespace, *arguments: str, **options: Any) -> str:
        if arguments[:2] == ("get", "deployment/orders-canary") and next(answers, False):
            raise ToolFailed("the API server does not answer")
        return read(self, *arguments, **options)

    namespace.runs_canary("v2", 10)
    monkeypatch.setattr(FakeNamespace, "kubectl", refuse_once)
    monkeypatch.setattr("devkit.canary.rollout._LOOK_SECONDS", 0)
    wait_rolled_out(session.target, "canary", 5, session.stop)


def test_a_weight_by_hand_is_not_given_to_a_canary_that_is_not_ready(
    session: Session, namespace: FakeNamespace
) -> None:
    namespace.runs_canary("v2", 0)
    namespace.ready.append(False)
    with pytest.raises(RolloutFailed, match="is not ready"):
        change_on_cluster(session, read_situation(session.target), 50)
    assert namespace.weights == []
    change_on_cluster(session, read_situation(session.target), 0)


def test_an_abort_deletes_what_a_failed_upgrade_has_left(
    session: Session, namespace: FakeNamespace
) -> None:
    session.release.remove("abort the canary")
    assert any("deployment/orders-canary" in each for each in namespace.commands[1])


def test_the_charts_of_the_umbrella_are_brought_once_for_all_changes(
    session: Session, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    brought: list[Path] = []
    monkeypatch.setattr("devkit.canary.release.update_dependencies", brought.append)
    target = replace(session.target, namespace=FakeNamespace.of_umbrella(), below="orders")
    one = replace(session, target=target)
    for percent in (5, 10):
        one.release.set_weight(Image(tag="v2"), percent)
    assert brought == [tmp_path]


@pytest.mark.parametrize("refusal", [OTHER_RUNS, OTHER_BEGAN_FIRST])
def test_an_upgrade_waits_for_the_end_of_another(
    session: Session, namespace: FakeNamespace, refusal: str
) -> None:
    ends = iter([False, True])

    def other_runs(_: dict[str, str]) -> None:
        if not next(ends):
            raise ToolFailed(refusal)

    namespace.before_upgrade.append(other_runs)
    session.release.remove("abort the canary")
    assert len(namespace.weights) == 2


def test_a_release_whose_upgrade_was_killed_is_freed_by_the_command_that_is_shown(
    session: Session, namespace: FakeNamespace
) -> None:
    def other_runs(_: dict[str, str]) -> None:
        raise ToolFailed(OTHER_RUNS)

    namespace.before_upgrade.append(other_runs)
    release = CanaryRelease(session.target, wait_seconds=0)
    with pytest.raises(ToolFailed, match="helm rollback shop --namespace shop --no-hooks"):
        release.remove("abort the canary")


def test_a_start_deletes_the_pod_that_a_killed_start_has_left(
    session: Session, namespace: FakeNamespace
) -> None:
    with pytest.raises(CannotStart):
        start(session, 50)
    assert namespace.commands[0][:4] == ("delete", "pods", "--selector", "slipway/types-of=orders")


def test_an_image_whose_pod_is_never_scheduled_changes_nothing(
    session: Session, namespace: FakeNamespace
) -> None:
    with pytest.raises(CannotStart, match=r"has not run after .* s: Pending"):
        start(session, 50)
    assert [each for each in namespace.commands if isinstance(each, dict)] == []
