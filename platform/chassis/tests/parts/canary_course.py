"""The course of a trial of a canary, and the promises that hold after it."""

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from canary_evidence import effects, published_by_handlers
from canary_trial import CANARY, CanaryTrial
from relaying import in_order

from chassis.events.wire.lanes import LANES, lane_of

__all__ = ["go_round", "promised", "tell"]

R = TypeVar("R")


async def go_round(
    trial: CanaryTrial[R], events: int, sticky: Callable[[str], bool] = lambda _key: True
) -> None:
    """Move the weight from 0 to 10, 50, 100 and back, and kill the canary at 50.

    `sticky` tells the keys whose events are handled by the version that has their lane.
    """
    part = events // 10
    canary = await trial.start(CANARY)
    for percent in (10, 50):
        await trial.weigh(percent, part)
        await _rest(trial, part, sticky)
    await trial.change("killed", 0, lambda: trial.kill(canary), part)
    canary = await trial.change("started", LANES // 2, lambda: trial.start(CANARY), part)
    for percent in (100, 0):
        await trial.weigh(percent, part)
        await _rest(trial, part, sticky)
    await trial.stop(canary)


async def _rest(trial: CanaryTrial[R], events: int, sticky: Callable[[str], bool]) -> None:
    """Publish events while no lane moves: each is handled by the version that has its lane."""
    await trial.all_are_handled()
    owners = await trial.owners()
    assert owners.keys() == set(range(LANES))
    new = {event.id for event in await trial.sell(events)}
    await trial.all_are_handled()
    assert await trial.owners() == owners
    for row in await effects(trial.shop):
        if row.event_id in new and sticky(row.book_id):
            assert row.member == owners[lane_of(row.book_id)]


async def promised(trial: CanaryTrial[R]) -> Sequence[Any]:
    """Assert what holds whatever the handlers are, and return the rows that they have written.

    Each event took effect once, in the order of its key, and so did the events that the handlers
    have published, which are numbered without a gap.
    """
    await trial.all_are_handled()
    await trial.shop.sent()
    rows = await effects(trial.shop)
    assert in_order([row.event_id for row in rows], trial.shop.published)
    assert in_order(await published_by_handlers(trial.nats_url), trial.shop.published)
    assert await trial.dead_letters() == 0
    return rows


def tell(trial: CanaryTrial[R], rows: Sequence[Any]) -> None:
    """Print what was measured."""
    versions = Counter(row.member for row in rows)
    print(f"\n{len(rows)} events took effect once, and in the order of their keys")
    print(f"by version: {dict(versions)}")
    for what, seconds in trial.seconds.items():
        print(f"{what}: lanes moved in {', '.join(f'{s:.1f}' for s in seconds)} s")
