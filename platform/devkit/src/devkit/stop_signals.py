"""Signals that stop a platform, such as Ctrl-C."""

import asyncio
import signal
from typing import Protocol

__all__ = ["STOPPING", "Killable", "stop_requested"]

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
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # `nohup` ignores SIGHUP so that the platform outlives its terminal.
        loop.add_signal_handler(number, on_signal)
    return stopping
