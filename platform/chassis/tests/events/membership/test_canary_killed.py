"""A canary is weighed, killed by SIGKILL and started again while events arrive: all promises hold.

`pytest -s` prints what was measured.
"""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from canary_course import go_round, promised, tell
from canary_evidence import switches
from canary_processes import ProcessTrial
from canary_trial import CANARY, STABLE

from chassis.events.wire.lanes import LANES
from localservers import NatsServer

pytestmark = [pytest.mark.xdist_group("restarts"), pytest.mark.timeout(600)]

# Tasks are tried soon, and a killed relay's successor looks for events soon.
VARIABLES = {
    "net_seconds": "1",
    "relay_sweep_seconds": "0.2",
    "task_lease_seconds": "2",
    "task_backoff_seconds": "0.05",
    "task_tries": "2",
    "log_format": "json",
}
# The canary fails to handle 3 % of the keys.
FAILS_EVERY = 33
SEEDS = range(1, 6)


@dataclass(frozen=True)
class Size:
    """How many events of how many keys are published, and how often the weight goes round."""

    events: int
    keys: int
    rounds: int
    member_ttl_seconds: int


# On a busy machine a shorter time lets the versions count each other as gone.
SMALL = Size(events=2_000, keys=100, rounds=1, member_ttl_seconds=6)
SMALLER = Size(events=600, keys=100, rounds=1, member_ttl_seconds=6)
# Members have this time by default.
LARGE = Size(events=20_000, keys=500, rounds=4, member_ttl_seconds=5)
SMALLER_LARGE = Size(events=5_000, keys=500, rounds=1, member_ttl_seconds=5)

Course = Callable[[ProcessTrial, Size], Awaitable[None]]
Trial = Callable[..., Awaitable[tuple[ProcessTrial, Sequence[Any]]]]


@pytest.fixture
def run(nats: NatsServer, new_database: Callable[[str], str], tmp_path: Path) -> Trial:
    """Return a function that runs the course of a trial, and returns the rows of its handlers, too.

    It asserts what holds whatever the handlers are.
    """

    async def trial_of(
        course: Course,
        size: Size,
        seed: int = 1,
        *,
        variables: Mapping[str, str] = {},
        canary: Mapping[str, str] = {},
    ) -> tuple[ProcessTrial, Sequence[Any]]:
        trial = ProcessTrial(
            tmp_path,
            url=new_database("bookstore"),
            nats_url=nats.url,
            keys=size.keys,
            seed=seed,
            variables={
                **VARIABLES, "member_ttl_seconds": str(size.member_ttl_seconds), **variables
            },
            canary=canary,
        )  # fmt: skip
        async with trial:
            await course(trial, size)
            rows = await promised(trial)
        tell(trial, rows)
        print(f"processor time of the replicas: {trial.processor_seconds:.1f} s")
        return trial, rows

    return trial_of


async def rounds(
    trial: ProcessTrial, size: Size, *, sticky: Callable[[str], bool] = lambda _key: True
) -> None:
    """Start the stable version, and let the weight of a canary go round."""
    await trial.start(STABLE)
    for _ in range(size.rounds):
        await go_round(trial, size.events // size.rounds, sticky)


async def promotion(trial: ProcessTrial, size: Size) -> None:
    """Promote a canary: its version replaces the stable one while the canary serves."""
    part = size.events // 5
    stable, canary = await trial.start(STABLE), await trial.start(CANARY)
    for percent in (50, 100):
        await trial.weigh(percent, part)
    await trial.change("promoted", LANES, lambda: trial.start(CANARY, weighed=False), part)
    await trial.change("stable ended", LANES, lambda: trial.stop(stable), part)
    await trial.change("canary ended", LANES, lambda: trial.stop(canary), part)


def fails(key: str) -> bool:
    """Whether the faulty canary fails to handle the events of a key."""
    return int(key.rpartition("-")[2]) % FAILS_EVERY == 0


def sizes(small: Size, large: Size) -> pytest.MarkDecorator:
    """Run a test with few events, and for five seeds with many."""
    return pytest.mark.parametrize(
        ("size", "seed"),
        [
            pytest.param(small, 1, id="small"),
            *(pytest.param(large, seed, id=f"{seed}", marks=pytest.mark.soak) for seed in SEEDS),
        ],
    )


@sizes(SMALL, LARGE)
async def test_every_key_is_handled_by_one_version_between_changes(
    run: Trial, size: Size, seed: int
) -> None:
    trial, rows = await run(rounds, size, seed)
    assert max(switches(rows, trial.changes).values()) == 1


@sizes(SMALLER, SMALLER_LARGE)
async def test_tasks_of_async_handlers_follow_their_key(run: Trial, size: Size, seed: int) -> None:
    await run(rounds, size, seed, variables={"handlers": "async"})


async def test_a_canary_is_promoted_while_its_version_replaces_the_stable_one(run: Trial) -> None:
    trial, rows = await run(promotion, SMALLER)
    assert max(switches(rows, trial.changes).values()) <= 1
    assert rows[-1].member == CANARY


@sizes(SMALLER, SMALLER_LARGE)
async def test_what_a_canary_cannot_handle_is_handled_by_the_other_version(
    run: Trial, size: Size, seed: int
) -> None:
    canary = {"fails_every": str(FAILS_EVERY)}
    course = partial(rounds, sticky=lambda key: not fails(key))
    trial, rows = await run(course, size, seed, canary=canary)
    assert {row.member for row in rows if fails(row.book_id)} == {STABLE}
    assert trial.left_to_stable
