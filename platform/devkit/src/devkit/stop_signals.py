"""What Ctrl-C does."""

import asyncio
import signal
from typing import Protocol

__all__ = ["STOPPING", "Killable", "stop_requested"]

STOPPING = "stopping; Ctrl-C again kills"


class Killable(Protocol):
    """What can be ended at once; devkit's Platform is one."""

    def kill(self) -> None: ...


def stop_requested(platform: Killable) -> asyncio.Event:
    """Set by the first SIGINT, SIGTERM or SIGHUP; the second one kills the platform at once."""
    stopping = asyncio.Event()

    def on_signal() -> None:
        if stopping.is_set():  # asked twice: no more patience
            platform.kill()
        stopping.set()

    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number == signal.SIGHUP and signal.getsignal(number) is signal.SIG_IGN:
            continue  # nohup
        loop.add_signal_handler(number, on_signal)
    return stopping
