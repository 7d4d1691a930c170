"""A replay on a new platform while a test injects faults; then every law must hold."""

import asyncio
import random
from collections.abc import Callable, Coroutine, Iterable
from dataclasses import dataclass

import nats

from demo.catalog import from_sample
from demo.laws import check
from demo.ledgers import read_ledgers
from demo.record import Record
from demo.replay import replay
from demo.seed import load_products
from demo.settle import wait_ended
from devkit.platform import Platform, PlatformOptions
from devkit.service_process import ServiceProcess

__all__ = ["FaultInjection", "assert_streams_in_order", "kill_and_start", "replay_with_faults"]

# Short time limits, so that a killed process is replaced soon.
ENVIRONMENT = {
    "APP_MEMBER_TTL_SECONDS": "2",
    "APP_TASK_LEASE_SECONDS": "2",
    "APP_RELAY_RECONCILE_SECONDS": "5",
    "APP_LOG_FORMAT": "json",
}


@dataclass
class FaultInjection:
    """The platform of a running replay, and a seeded source of random moments."""

    platform: Platform
    random: random.Random
    baskets: int
    placed: Callable[[], int]

    async def after(self, share: float) -> None:
        """Wait until this share of the baskets has been placed."""
        while self.placed() < share * self.baskets:
            await asyncio.sleep(0.01)

    async def random_moment(self, longest: float = 0.3) -> None:
        """Wait for a random time of up to `longest` seconds."""
        await asyncio.sleep(self.random.uniform(0, longest))


async def kill_and_start(process: ServiceProcess) -> None:
    """Crash a process, and restart it."""
    await asyncio.to_thread(process.kill)
    process.start()
    await process.wait_ready(60)


async def replay_with_faults(
    options: PlatformOptions,
    baskets: int,
    inject: Callable[[FaultInjection], Coroutine[None, None, None]],
    seed: int = 1,
) -> Record:
    """Replay baskets while `inject` runs; then assert that laws hold and streams are in order."""
    selection = from_sample(baskets)
    done = 0

    def count(record: Record) -> None:
        nonlocal done
        done = len(record.placed)

    async with Platform(options) as platform:
        await platform.wait_ready(120)
        await load_products(platform.grpc_address("inventory"), selection.catalog)
        faults = FaultInjection(platform, random.Random(seed), baskets, lambda: done)
        async with asyncio.TaskGroup() as tasks:  # If one fails, the other is cancelled.
            tasks.create_task(inject(faults))
            replaying = tasks.create_task(
                replay(
                    platform.urls("gateway"),
                    selection.baskets(),
                    in_flight=8,
                    on_progress=count,
                    patience=120,
                    answer_within=5,
                )
            )
        record = replaying.result()
        for process in platform.processes:
            await process.wait_ready(60)
        await wait_ended(platform)
        laws = check(record, await read_ledgers(platform), selection.catalog)
        assert not (broken := [law for law in laws if not law.holds]), broken
        services = dict.fromkeys(process.service for process in platform.processes)
        await assert_streams_in_order(platform.broker.url, services)
    return record


async def assert_streams_in_order(url: str, streams: Iterable[str]) -> None:
    """Assert that each stream has the events of each subject in order, each once, without gaps."""
    client = await nats.connect(url)
    try:
        jetstream = client.jetstream()
        existing = {info.config.name for info in await jetstream.streams_info()}
        for name in (stream for stream in streams if stream in existing):
            info = await jetstream.stream_info(name)
            last: dict[str, int] = {}
            rank = 0
            subscription = await jetstream.subscribe(">", stream=name, ordered_consumer=True)
            for _ in range(info.state.messages):
                message = await subscription.next_msg(timeout=10)
                assert message.headers
                number = int(message.headers["ce-sequence"])
                expected = last.get(message.subject, 0) + 1
                assert number == expected, f"{name} {message.subject}: {number}, not {expected}"
                last[message.subject] = number
                assert int(message.headers["slipway-rank"]) > rank
                rank = int(message.headers["slipway-rank"])
            await subscription.unsubscribe()
    finally:
        await client.close()
