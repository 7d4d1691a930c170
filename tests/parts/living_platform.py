"""Keeps a platform running for many tests, each with an event loop of its own."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from devkit.platform import Platform, PlatformOptions

__all__ = ["running"]


@contextmanager
def running(options: PlatformOptions) -> Iterator[Platform]:
    """A platform that is ready; it is stopped at the end.

    Its own tasks live on a loop of its own. What a test does with a process (kill it, wait until
    it is ready) works on any loop.
    """
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="platform", daemon=True)
    thread.start()

    def run(work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result()

    platform = Platform(options)
    try:
        run(platform.start())
        try:
            run(platform.wait_ready(90))
            yield platform
        finally:
            run(platform.stop())
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
