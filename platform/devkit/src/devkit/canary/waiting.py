"""Waiting that a signal, such as Ctrl-C, and another command's takeover end."""

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

from devkit.stop_signals import stop_signals

__all__ = ["Interrupted", "Stop", "TakenOver", "stop_on_signals"]

_LOOK_SECONDS = 0.2
# Some programs signal a process and its group, so that it gets one signal twice.
_TWICE_SECONDS = 1.0


class Interrupted(Exception):
    """Ctrl-C was pressed, or the process was asked to end."""


class TakenOver(Exception):
    """Another command has taken the canary over."""


class Stop:
    """The reasons to end a wait early: a signal, and a takeover."""

    def __init__(self) -> None:
        self.requested = threading.Event()
        self.taken_over = threading.Event()

    def pause(self, seconds: float) -> None:
        """Wait.

        Raises:
            Interrupted: a signal has come.
            TakenOver: another command has taken the lease.
        """
        ends_at = time.monotonic() + seconds
        while True:
            self.check()
            left = ends_at - time.monotonic()
            if left <= 0:
                return
            self.requested.wait(min(left, _LOOK_SECONDS))

    def check(self) -> None:
        """Raise Interrupted or TakenOver if the command must end."""
        if self.requested.is_set():
            raise Interrupted
        if self.taken_over.is_set():
            raise TakenOver


@contextmanager
def stop_on_signals(stop: Stop, say: Callable[[str], None]) -> Iterator[None]:
    """Let the first of the stop signals request the stop, and the second interrupt at once."""

    first_at = 0.0

    def on_signal(number: int, frame: FrameType | None) -> None:
        nonlocal first_at
        if not stop.requested.is_set():
            first_at = time.monotonic()
        elif time.monotonic() - first_at > _TWICE_SECONDS:
            raise KeyboardInterrupt
        else:
            return
        stop.requested.set()
        say("stopping after the running step; Ctrl-C again ends at once")

    before = {each: signal.signal(each, on_signal) for each in stop_signals()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
