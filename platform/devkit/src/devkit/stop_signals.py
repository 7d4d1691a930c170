"""Signals that stop a command, such as Ctrl-C."""

import asyncio
import signal
from typing import Protocol

__all__ = ["STOPPING", "Killable", "stop_requested", "stop_signals"]

STOPPING = "stopping; Ctrl-C again kills"


class Killable(Protocol):
    """An object that can be killed, such as a Platform."""

    def kill(self) -> None: ...


def stop_requested(platform: Killable) -> asyncio.Event:
    """Return an event that the first SIGINT, SIGTERM or SIGHUP sets; the second kills at once."""
    stopping = asyncio.Event()

    def on_signal() -> None:
        if stopping.is_set():
            platform.kill()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in stop_signals():
        loop.add_signal_handler(number, on_signal)
    return stopping


def stop_signals() -> list[signal.Signals]:
    """Return the signals that ask a command to stop.

    SIGHUP is one unless `nohup` ignores it, so that the command outlives its terminal.
    """
    hung_up = signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN
    return [signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hung_up else [])]
