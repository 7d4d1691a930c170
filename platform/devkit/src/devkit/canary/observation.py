"""The observation of one step: readings while it lasts, looks at them, and the verdict."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from devkit.canary.analysis import Gate, Outcome, Readings, Verdict, judge
from devkit.canary.pod_readings import ReadingsSource
from devkit.canary.waiting import Stop
from devkit.errors import DevkitError

__all__ = ["HeldTooLong", "Observer", "Timing", "Unreadable"]

_READINGS_PER_INTERVAL = 8
# More readings than these are thinned out, so that a long hold needs no more memory.
_MOST_READINGS = 64
_SHOWN_SECONDS = 1.0
_REPEAT_SECONDS = 1.0


class HeldTooLong(Exception):
    """The step has held for longer than it may; the message says what was missing."""


class Unreadable(Exception):
    """The figures could not be read for longer than they may; the message says why."""


@dataclass(frozen=True)
class Timing:
    """How long a step is observed, in seconds.

    `interval` is the time before it may pass, and between two looks while it holds. It may hold for
    `most_hold` longer; None for any time. Figures that cannot be read are tried again for
    `unreadable`.
    """

    interval: float
    most_hold: float | None = None
    unreadable: float = 60.0


@dataclass
class Observer:
    """The observer of all steps of a canary.

    Each look has a share of the probability of a false alarm, so that looks are few and counted:
    one in the middle of the interval, to abort a bad canary early, and one at the end of each.
    """

    source: ReadingsSource
    gates: Sequence[Gate]
    timing: Timing
    stop: Stop
    looks: int = 0
    _baseline: Sequence[Readings] | None = field(default=None, init=False)

    def observe(
        self,
        weight: int,
        see: Callable[[float, Verdict], None],
        now: Callable[[float], None],
    ) -> Verdict:
        """Observe a step until it passes or fails, and return the last verdict.

        `see` gets each verdict, and `now` is called often; both get the seconds of the step.

        Raises:
            HeldTooLong: the step has neither passed nor failed.
            Unreadable: the figures could not be read for too long.
            Interrupted, TakenOver: as Stop.pause.
        """
        began = time.monotonic()
        readings = [self._read()]
        count = 0
        while True:
            count += 1
            self._wait_for(count, began, now)
            readings = [*_thinned(readings), self._read()]
            if not _is_look(count):
                continue
            verdict = self._judge(readings, weight)
            seconds = time.monotonic() - began
            see(seconds, verdict)
            whole = count >= _READINGS_PER_INTERVAL
            if verdict.outcome is Outcome.FAIL or (whole and verdict.outcome is Outcome.PASS):
                return verdict
            if whole and self._has_held_too_long(seconds):
                raise HeldTooLong(verdict.reason)

    def _read(self) -> Readings:
        """Return a reading, which is tried again while the source does not answer."""
        ends_at = time.monotonic() + self.timing.unreadable
        while True:
            try:
                return self.source.read()
            except DevkitError as error:
                if time.monotonic() > ends_at:
                    seconds = self.timing.unreadable
                    raise Unreadable(
                        f"its figures could not be read for {seconds:g} s: {error}"
                    ) from error
            self.stop.pause(min(_REPEAT_SECONDS, self.timing.unreadable))

    def _wait_for(self, count: int, began: float, now: Callable[[float], None]) -> None:
        """Wait for the time of a reading, which are counted from 1."""
        at = began + count * self.timing.interval / _READINGS_PER_INTERVAL
        while (left := at - time.monotonic()) > 0:
            now(time.monotonic() - began)
            self.stop.pause(min(left, _SHOWN_SECONDS))
        self.stop.check()

    def _judge(self, readings: Sequence[Readings], weight: int) -> Verdict:
        """Return the verdict of a look; at 100 % stable's figures are those of the step before."""
        self.looks += 1
        if weight < 100:
            self._baseline = readings
            return judge(readings, self.gates, look=self.looks)
        return judge(readings, self.gates, look=self.looks, baseline=self._baseline)

    def _has_held_too_long(self, seconds: float) -> bool:
        most = self.timing.most_hold
        return most is not None and seconds - self.timing.interval >= most


def _is_look(count: int) -> bool:
    """Whether a reading is a look: in the middle of the first interval, and at the end of each."""
    return count % _READINGS_PER_INTERVAL == 0 or count == _READINGS_PER_INTERVAL // 2


def _thinned(readings: list[Readings]) -> list[Readings]:
    """Return the readings, without every second one if they are many."""
    return readings if len(readings) < _MOST_READINGS else [*readings[:-1:2], readings[-1]]
