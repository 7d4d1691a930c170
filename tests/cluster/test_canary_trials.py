"""Canaries with a seed each: every bad one is aborted at its first step, every good one promoted.

Three services have a canary at a time, in a mesh, while customers order. CANARY_SEEDS has the first
and the last seed (`1-10`); there is a canary of each kind for each. The figures are printed.
"""

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from itertools import cycle, islice
from pathlib import Path
from statistics import median
from typing import Any

import pytest
from canary_command import CanaryCommand, ended
from canary_images import CanaryImages, Fault, Version
from cluster_customers import Customers
from own_releases import release_each

from demo.cluster.shop import ClusterShop

_FIRST, _LAST = map(int, os.environ.get("CANARY_SEEDS", "1-1").split("-"))
_SEEDS = range(_FIRST, _LAST + 1)

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(900 + 900 * len(_SEEDS))]

_ORDERS_PER_SECOND = 6
_OPTIONS = ("--steps", "50,100", "--interval", "40s", "--max-hold", "10m", "--promote")
_AT_ONCE = 3
_EVENTS_FAIL = frozenset({"failed events", "tries used up", "dead letters"})
# The figures that may abort a version with a fault.
_FIGURES: Mapping[Fault, frozenset[str]] = {
    "none": frozenset(),
    "fails": _EVENTS_FAIL,
    "slow": frozenset({"handler time", "publish to handled", "lag per lane"}),
    "doubles": frozenset({"authorized amounts"}),
}
# The handlers of the events that most orders have; the seed chooses one of them.
_HANDLERS = (
    ("orders", "confirm_or_refund"),
    ("inventory", "reserve_stock"),
    ("payments", "authorize_or_decline"),
    ("orders", "note_reservation"),
    ("inventory", "record_sales"),
)
# Only payments declares a law for the amounts that it publishes.
_PUBLISHING = (("payments", ""),)


def versions(seeds: Iterable[int]) -> Iterator[Version]:
    """Yield the versions of all kinds; a service has one canary at a time, in this order."""
    for seed in seeds:
        yield chosen("fails", seed, _HANDLERS)
        yield chosen("slow", seed, _HANDLERS[1:])
        yield chosen("doubles", seed, _PUBLISHING)
        yield chosen("none", seed, _HANDLERS[:2])


def chosen(fault: Fault, seed: int, handlers: Sequence[tuple[str, str]]) -> Version:
    service, handler = next(islice(cycle(handlers), seed - 1, None))
    return Version(service, fault, seed, handler)


@dataclass(frozen=True)
class Ending:
    """How a canary has ended. `figure` is the one that aborted it; empty if none did."""

    version: Version
    promoted: bool
    steps: int
    figure: str
    reason: str
    looked_seconds: float
    seconds: float

    @property
    def is_right(self) -> bool:
        if self.version.fault == "none":
            return self.promoted
        return self.steps == 1 and self.figure in _FIGURES[self.version.fault]

    @property
    def text(self) -> str:
        version = self.version
        what = "promoted" if self.promoted else f"aborted at step {self.steps}"
        why = f"  {self.reason}" if self.reason else ""
        return (
            f"{version.name:<10}  {version.service:<9}  {version.handler:<20}  {what:<17}"
            f"  {self.looked_seconds:>4.0f} s of {self.seconds:>4.0f} s"
            f"{'' if self.is_right else '  WRONG'}{why}"
        )


class Trials:
    """The canaries of a shop, one at a time of each service."""

    def __init__(self, shop: ClusterShop, folder: Path) -> None:
        self._shop = shop
        self._images = CanaryImages(shop)
        self._folder = folder

    def run(self, versions: Sequence[Version]) -> list[Ending]:
        """Try versions of one service, one after the other."""
        return [self._try(version) for version in versions]

    def _try(self, version: Version) -> Ending:
        command = CanaryCommand(
            self._shop, version.service, self._folder / f"{version.service}-{version.name}"
        )
        tag = self._images.push(version)
        began = time.monotonic()
        _, output = ended(command.start(tag, *_OPTIONS))
        seconds = time.monotonic() - began
        if command.canary_runs():
            command.run("abort")
        promoted = command.stable_tag() == tag
        ending = _ending(version, _entries(command), output, promoted=promoted, seconds=seconds)
        print(ending.text, flush=True)
        return ending


def _entries(command: CanaryCommand) -> list[dict[str, Any]]:
    if not command.record.exists():
        return []
    return [json.loads(line) for line in command.record.read_text(encoding="utf-8").splitlines()]


def _ending(
    version: Version,
    record: Sequence[Mapping[str, Any]],
    output: str,
    *,
    promoted: bool,
    seconds: float,
) -> Ending:
    steps = [each for each in record if each["reason"] == "CanaryStep"]
    judged = [each for each in record if each["reason"] in ("CanaryStepPassed", "CanaryStepFailed")]
    figures = [figure for each in judged for figure in each["figures"]]
    failed = next((each for each in figures if each["outcome"] == "fail"), None)
    last = "" if promoted else output.strip().rpartition("\n")[2]
    return Ending(
        version,
        promoted=promoted,
        steps=len(steps),
        figure=failed["gate"] if failed else "",
        reason=f"{failed['gate']}: {failed['reason']}" if failed else last,
        looked_seconds=sum(
            (_at(end) - _at(begin)).total_seconds()
            for begin, end in zip(steps, judged, strict=False)
        ),
        seconds=seconds,
    )


def _at(entry: Mapping[str, Any]) -> datetime:
    return datetime.fromisoformat(entry["at"])


@pytest.fixture(scope="module")
def sidecars() -> bool:
    return True


def test_every_bad_canary_is_aborted_at_its_first_step_and_every_good_one_is_promoted(
    shop: ClusterShop, tmp_path: Path
) -> None:
    trials, planned = Trials(shop, tmp_path), list(versions(_SEEDS))
    queues = {
        service: [each for each in planned if each.service == service]
        for service in dict.fromkeys(each.service for each in planned)
    }
    release_each(shop, queues)
    with (
        Customers(shop) as customers,
        customers.ordering(_ORDERS_PER_SECOND) as seen,
        ThreadPoolExecutor(_AT_ONCE) as pool,
    ):
        endings = [each for of in pool.map(trials.run, queues.values()) for each in of]
    tell(endings)
    # A canary that ends otherwise does not hide what the customers saw.
    assert (seen.failed, seen.broken) == ({}, {})
    assert [each.text for each in endings if not each.is_right] == []


def tell(endings: Sequence[Ending]) -> None:
    """Print how all canaries have ended, and how many of each kind."""
    for fault in _FIGURES:
        of = [each for each in endings if each.version.fault == fault]
        print(*(each.text for each in of), sep="\n")
    for fault in _FIGURES:
        of = [each for each in endings if each.version.fault == fault]
        promoted = sum(each.promoted for each in of)
        first = sum(not each.promoted and each.steps == 1 for each in of)
        right = sum(each.is_right for each in of)
        seconds = median(each.looked_seconds for each in of)
        print(
            f"{fault}: {len(of)} canaries, {promoted} promoted, {first} aborted at step 1,"
            f" {right} right; median {seconds:.0f} s of observation"
        )
