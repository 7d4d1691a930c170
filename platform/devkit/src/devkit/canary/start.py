"""`slipway canary start`: deploys a canary, raises its weight in steps, and aborts it by itself."""

import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise

from devkit.canary.analysis import Outcome, Verdict
from devkit.canary.analysis.pace import pace_of
from devkit.canary.declarations import types_of_image, types_of_stable
from devkit.canary.ending import abort, promote
from devkit.canary.figures import gates_that_apply, routes_requests
from devkit.canary.image import Image
from devkit.canary.lanes import Lanes, LanesDoNotFollow, wait_for_lanes
from devkit.canary.observation import HeldTooLong, Observer, Unreadable
from devkit.canary.rollout import RolloutFailed, wait_rolled_out
from devkit.canary.session import Session
from devkit.canary.situation import Situation, read_situation
from devkit.canary.waiting import TakenOver
from devkit.cluster.tools import ToolFailed
from devkit.errors import DevkitError, WrongUsage

__all__ = ["CanaryAborted", "CanaryNotAborted", "Start", "check_steps"]

_LANES_SECONDS = 120.0
_ABORT_SECONDS = 600.0
_REPEAT_SECONDS = 5.0
_LONG_SECONDS = 120.0
"""The hold from which on a developer wants to know how long it will be."""


class CanaryAborted(DevkitError):
    """The canary has been aborted; the message says why."""


class CanaryNotAborted(DevkitError):
    """The canary should have been aborted and still serves; the message says why."""


@dataclass
class Start:
    """The start of a canary, or its continuation after the command that started it has ended."""

    session: Session
    observer: Observer
    tag: str
    steps: Sequence[int]
    promotes: bool = False
    _routed: bool | None = field(default=None, init=False)
    _said_pace: bool = field(default=False, init=False)

    def run(self) -> None:
        """Take the canary through its steps.

        Raises:
            WrongUsage: another canary runs, or the image is that of the stable version.
            CannotStart: the image cannot run; nothing was changed.
            CanaryAborted: a figure failed or cannot be read, the canary cannot run or has held for
                too long, or helm or the cluster refused.
            CanaryNotAborted: it should have been, but the cluster has not answered for ten minutes.
            Interrupted, TakenOver: the canary is left as it is.
        """
        began = time.monotonic()
        situation = read_situation(self.session.target)
        image = Image.named(self.tag, self.session.target.values()["image"])
        self._check(situation, image)
        if not situation.canary:
            self._compare_types(situation, image)
        try:
            if situation.canary:
                self._say_continued(situation)
            else:
                situation = self._deploy(image)
            first = self._first_weight(situation)
            for number, weight in enumerate(self.steps, start=1):
                if weight >= first:
                    self._step(number, weight, situation)
                    situation = replace(situation, weight=weight)
        except (RolloutFailed, LanesDoNotFollow, _Failed, HeldTooLong, Unreadable) as error:
            self._abort(str(error), time.monotonic() - began)
        except ToolFailed as error:
            # Ctrl-C in a terminal ends a running kubectl, too, for which the canary has no fault.
            self.session.stop.check()
            self._abort(str(error), time.monotonic() - began)
        self._end(image)

    def _check(self, situation: Situation, image: Image) -> None:
        """Raise WrongUsage if this canary cannot be started or continued."""
        service = self.session.target.service
        if situation.canary and situation.canary != image:
            raise WrongUsage(
                f"{service} has a canary {situation.canary} at {situation.weight} %: end it by"
                f" `slipway canary promote {service}` or `slipway canary abort {service}`"
            )
        if situation.promoted:
            raise WrongUsage(
                f"the promotion of {situation.canary} has not ended: end it by `slipway canary"
                f" promote {service}`, or end the canary by `slipway canary abort {service}`"
            )
        if image.full_name(situation.stable) == situation.stable:
            raise WrongUsage(
                f"{situation.stable} is the stable version already: give the canary another tag"
            )
        if not self._compared:
            raise WrongUsage(
                "at 100 % there is nothing to compare the canary with: begin --steps with less"
            )
        if situation.weight < 100 and situation.weight > self.steps[-1]:
            raise WrongUsage(
                f"the canary of {service} has {situation.weight} % already, more than the last"
                f" step: give higher --steps, or `slipway canary weight {service}=…` less"
            )

    def _first_weight(self, situation: Situation) -> int:
        """Return the weight from which on steps are taken.

        At 100 % stable has no figures, so that a canary is continued there with the step before.
        """
        return max(self._compared) if situation.weight == 100 else situation.weight

    @property
    def _compared(self) -> list[int]:
        """The steps at which stable has figures of its own."""
        return [weight for weight in self.steps if weight < 100]

    def _compare_types(self, situation: Situation, image: Image) -> None:
        """Print which event types only one version handles: their events wait at times."""
        progress, target = self.session.progress, self.session.target
        reference = image.full_name(situation.stable)
        progress.line("stable", situation.stable)
        progress.line("canary", f"{reference} (release {target.release})")
        progress.now("pulling the canary's image, and comparing the event types that it handles")
        own = types_of_image(target, reference, self.session.rollout_seconds, self.session.stop)
        try:
            theirs = types_of_stable(target)
        except ToolFailed as error:
            progress.line("types", f"cannot be compared: {error}", "yellow")
            return
        for type in sorted(own - theirs):
            text = f"only the canary handles {type}: its events wait while stable has their lane"
            progress.line("types", text, "yellow")
        for type in sorted(theirs - own):
            text = f"only stable handles {type}: its events wait while the canary has their lane"
            progress.line("types", text, "yellow")
        if own == theirs:
            progress.line("types", f"both versions handle the same {len(own)} types of events")

    def _say_continued(self, situation: Situation) -> None:
        text = (
            f"canary {situation.canary} runs at {situation.weight} % already: its step is repeated"
        )
        self.session.progress.line("continued", text)
        self.session.record.add("CanaryContinued", text)

    def _deploy(self, image: Image) -> Situation:
        """Deploy the canary without requests and events, and wait until it is ready."""
        session, began = self.session, time.monotonic()
        session.record.add("CanaryStarted", f"canary {image}, in the steps {self._steps_text} %")
        session.progress.now(f"deploying {session.target.canary}")
        try:
            session.release.start(image)
        except ToolFailed as error:
            raise _Failed(f"the canary cannot be deployed: {error}") from error
        wait_rolled_out(session.target, "canary", session.rollout_seconds, session.stop)
        seconds = time.monotonic() - began
        session.progress.line("rollout", f"{session.target.canary} is ready after {seconds:.0f} s")
        return read_situation(session.target)

    def _choose_gates(self) -> None:
        """Leave out the figures of requests if none are routed to the canary with its weight."""
        self._routed = routes_requests(self.session.target)
        self.observer.gates = gates_that_apply(self.observer.gates, requests=self._routed)
        if not self._routed:
            text = "no mesh and no Gateway routes them to the canary: it is judged by events only"
            self.session.progress.line("requests", text, "yellow")

    def _step(self, number: int, weight: int, situation: Situation) -> None:
        """Set a weight, observe it, and raise _Failed if a figure fails."""
        session, began = self.session, time.monotonic()
        self._said_pace = False
        title = f"step {number}/{len(self.steps)}"
        session.progress.now(f"{title}: {weight} %")
        # A canary that is continued may have pods that have never been ready.
        wait_rolled_out(session.target, "canary", session.rollout_seconds, session.stop)
        if weight != situation.weight:
            session.release.set_weight(situation.canary, weight)
        if self._routed is None:
            self._choose_gates()
        lanes = self._wait_for_lanes(weight) if situation.lanes else None
        seconds = time.monotonic() - began
        takes = [f"{weight} % of the requests"] if self._routed else []
        takes += [str(lanes)] if lanes else []
        said = f"{weight} %: the canary takes {' and '.join(takes) or 'nothing'}"
        session.progress.line(title, f"{said} after {seconds:.1f} s")
        session.record.add("CanaryStep", said, weight=weight)
        verdict = self.observer.observe(weight, self._see, lambda at: self._now(title, weight, at))
        session.record.add(
            "CanaryStepPassed" if verdict.outcome is Outcome.PASS else "CanaryStepFailed",
            f"{weight} %: {verdict.outcome}{f': {verdict.reason}' if verdict.reason else ''}",
            warning=verdict.outcome is Outcome.FAIL,
            weight=weight,
            figures=[asdict(each) for each in verdict.comparisons],
        )
        if verdict.outcome is Outcome.FAIL:
            raise _Failed(verdict.reason)

    def _wait_for_lanes(self, weight: int) -> Lanes:
        def see(lanes: Lanes) -> None:
            self.session.progress.now(f"waiting for the lanes of {weight} %: {lanes}")

        stop, target = self.session.stop, self.session.target
        return wait_for_lanes(target, weight, _LANES_SECONDS, stop, see)

    def _see(self, seconds: float, verdict: Verdict) -> None:
        self.session.progress.verdict(seconds, verdict)
        pace = pace_of(verdict, seconds) if verdict.outcome is Outcome.HOLD else None
        if pace is not None and not self._said_pace and pace.seconds_left > _LONG_SECONDS:
            self._said_pace = True
            shadow = f"slipway canary shadow {self.session.target.service} --tag {self.tag}"
            self.session.progress.line("", f"{pace}; a shadow answers sooner: {shadow}", "yellow")

    def _now(self, title: str, weight: int, seconds: float) -> None:
        interval = self.observer.timing.interval
        text = f"{title}: {weight} %, observed for {seconds:.0f} of {interval:.0f} s"
        held = " (held)" if seconds > interval else ""
        self.session.progress.now(f"{text}{held}")

    def _abort(self, why: str, seconds: float) -> None:
        """Abort the canary and raise CanaryAborted; TakenOver if another command has ended it.

        It is tried again while the cluster does not answer, because nothing else judges the canary.
        """
        service, progress = self.session.target.service, self.session.progress
        ends_at = time.monotonic() + _ABORT_SECONDS
        situation = None
        while True:
            try:
                situation = situation or self._situation_to_abort(why)
                abort(self.session, situation, why, seconds=seconds)
                break
            except ToolFailed as error:
                if time.monotonic() >= ends_at:
                    raise self._not_aborted(why, error) from error
                progress.line(
                    "", f"it cannot be aborted yet, and is tried again: {error}", "yellow"
                )
            self.session.stop.pause(_REPEAT_SECONDS)
        raise CanaryAborted(f"the canary of {service} was aborted: {why}")

    def _situation_to_abort(self, why: str) -> Situation:
        """Return the canary to abort; TakenOver or CanaryAborted if there is none any more."""
        situation = read_situation(self.session.target)
        if not situation.canary:
            self.session.stop.check()
            service = self.session.target.service
            raise CanaryAborted(f"the canary of {service} does not run: {why}")
        return situation

    def _not_aborted(self, why: str, error: ToolFailed) -> CanaryNotAborted:
        """Record that a canary could not be aborted, and return the error that says so."""
        service = self.session.target.service
        text = f"the canary of {service} was to be aborted ({why}) and still serves"
        self.session.record.add("CanaryNotAborted", text, warning=True)
        return CanaryNotAborted(f"{text}: end it by `slipway canary abort {service}`\n{error}")

    def _end(self, image: Image) -> None:
        """Promote the canary, or say how it is promoted.

        Raises TakenOver if another command has ended it since its last step.
        """
        service = self.session.target.service
        situation = read_situation(self.session.target)
        if situation.canary != image:
            raise TakenOver
        if self.promotes:
            promote(self.session, situation)
            return
        text = f"all steps; promote it by `slipway canary promote {service}`"
        self.session.progress.line("passed", text, "bold green")
        self.session.record.add("CanaryPassed", f"canary {self.tag} passed the steps of {service}")

    @property
    def _steps_text(self) -> str:
        return ", ".join(map(str, self.steps))


class _Failed(Exception):
    """The canary must be aborted; the message says which figure failed, or what else."""


def check_steps(text: str) -> list[int]:
    """Return the weights of `--steps`. Raises WrongUsage unless they rise from 1 to 100 at most."""
    parts = text.split(",")
    steps = [int(part) for part in parts if part.strip().isdecimal()]
    rising = all(a < b for a, b in pairwise(steps))
    if len(steps) != len(parts) or not rising or steps[0] < 1 or steps[-1] > 100:
        raise WrongUsage(f"--steps {text}: write rising percentages, such as 5,10,25,50,100")
    return steps
