"""Keeps a platform running for many tests, each with an event loop of its own."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from demo.ledgers import read_event_ledgers
from demo.settle import wait_ended
from devkit.platform import Platform, PlatformOptions

__all__ = ["mend", "nothing_is_left", "running"]


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


def mend(platform: Platform) -> None:
    """Continue what was paused and start what was stopped. Nothing happens when all runs."""
    for server in (platform.broker, platform.postgres):
        if server is not None:
            server.start()
    ended = [process for process in platform.processes if not process.running]
    for process in platform.processes:
        process.resume()
        process.start()

    async def ready() -> None:
        for process in ended:
            await process.wait_ready(90)

    asyncio.run(ready())


async def nothing_is_left(platform: Platform) -> None:
    """Return once all has ended; then there is no dead letter and no lane that has stopped."""
    await wait_ended(platform)
    for service, entry in (await read_event_ledgers(platform)).items():
        assert (service, entry.dead_letters, entry.stopped) == (service, 0, ())
