"""A platform that runs for several tests, each of which has another event loop."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from typing import Any

from demo.ledgers import read_event_ledgers
from demo.settle import wait_ended
from devkit.platform import Platform, PlatformOptions

__all__ = ["assert_nothing_is_left", "repair", "running"]


@contextmanager
def running(options: PlatformOptions) -> Iterator[Platform]:
    """Start a platform, wait until it is ready, and stop it at the end.

    The platform's tasks run on an event loop in a thread. The methods of a process, such as kill
    and wait_ready, work on any loop.
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


def repair(platform: Platform) -> None:
    """Resume paused processes and start stopped ones."""
    for server in (platform.broker, platform.postgres):
        if server is not None:
            server.start()
    stopped = [process for process in platform.processes if not process.running]
    for process in platform.processes:
        process.resume()
        process.start()

    async def ready() -> None:
        for process in stopped:
            await process.wait_ready(90)

    asyncio.run(ready())


async def assert_nothing_is_left(platform: Platform) -> None:
    """Wait until no work is open, and assert that there is no dead letter and no stopped lane."""
    await wait_ended(platform)
    for service, entry in (await read_event_ledgers(platform)).items():
        assert (service, entry.dead_letters, entry.stopped) == (service, 0, ())
