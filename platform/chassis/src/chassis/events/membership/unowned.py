"""The warning of lanes that no member reads."""

import time
from collections.abc import Callable

import structlog

__all__ = ["UnownedLanes"]

_log = structlog.get_logger(__name__)


class UnownedLanes:
    """Warns of lanes that have had no owner for `seconds`, because only canaries run.

    A start or a stop of all versions leaves lanes without an owner for some seconds.
    """

    def __init__(self, seconds: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds = seconds
        self._clock = clock
        self._lanes = 0
        self._since = 0.0
        self._warned = False

    def note(self, lanes: int) -> None:
        """Note how many lanes have no owner from now on."""
        if lanes and not self._lanes:
            self._since = self._clock()
        elif not lanes and self._warned:
            self._warned = False
            _log.info("each lane has an owner again")
        self._lanes = lanes

    def look(self) -> None:
        """Warn once if lanes have had no owner for too long."""
        if self._lanes and not self._warned and self._clock() - self._since >= self._seconds:
            self._warned = True
            _log.warning(
                "lanes have no owner; their events wait for a version without a weight",
                lanes=self._lanes,
            )
