"""The parts that all commands that change a canary need: release, record and output."""

from dataclasses import dataclass
from functools import cached_property

from devkit.canary.progress import Progress
from devkit.canary.record import Record
from devkit.canary.release import CanaryRelease
from devkit.canary.target import Target
from devkit.canary.waiting import Stop

__all__ = ["Session"]


@dataclass(frozen=True)
class Session:
    """The work on the canary of one service.

    `rollout_seconds` is how long pods may take to become ready.
    """

    target: Target
    record: Record
    progress: Progress
    stop: Stop
    rollout_seconds: float

    @cached_property
    def release(self) -> CanaryRelease:
        return CanaryRelease(self.target, self.stop)
