"""Simulated traffic of a service: requests, calls and events of both sides on one busy machine."""

from dataclasses import dataclass
from math import exp, log
from random import Random

from devkit.canary.analysis import Readings
from devkit.canary.simulation.kinds import AMOUNT, CALLS, EVENTS, REQUEST, Answered
from devkit.canary.simulation.side import FAST, LATE, SideCounts

__all__ = ["GOOD", "LANES", "Traffic", "Version"]

LANES = 20
AMOUNTS = tuple(number * 10.0**power for power in range(1, 6) for number in (1, 2, 5))


@dataclass(frozen=True)
class Version:
    """The behaviour of a version.

    Args:
        failing_keys: the share of keys whose events fail in every try.
        errors: the share of requests and calls that fail.
        failures: the share of events that fail at first and succeed later.
        slower: the factor of all times.
        amounts: the factor of the published amounts.
    """

    failing_keys: float = 0.0
    errors: float = 0.002
    failures: float = 0.003
    slower: float = 1.0
    amounts: float = 1.0


GOOD = Version()


class Traffic:
    """Traffic that is split between two versions; each second is simulated by itself.

    Both sides run on one machine that is slower in some seconds, and each side alone is held up now
    and then: by garbage collection, a busy neighbour, or a slow disk.

    Args:
        stable: the version of stable.
        canary: the version of the canary.
        rate: how many events, requests and calls there are of each in a second.
        seed: the seed of all chances.
    """

    def __init__(self, stable: Version, canary: Version, rate: float, seed: int) -> None:
        self._versions = {"stable": stable, "canary": canary}
        self._rate = rate
        self._random = Random(seed)
        self._sides = {track: SideCounts() for track in self._versions}
        self._machine = 0.0
        self._held_up = dict.fromkeys(self._versions, 1.0)
        self._at = 0.0

    def run(self, seconds: int, weight: int) -> None:
        """Simulate some seconds at a weight of the canary in percent."""
        for track, lanes in (("stable", 100 - weight), ("canary", weight)):
            self._sides[track].lanes = round(LANES * lanes / 100)
        for _ in range(seconds):
            self._second(weight)

    def read(self) -> Readings:
        """Return what both sides report now."""
        stable, canary = (self._sides[track].read() for track in ("stable", "canary"))
        return Readings(self._at, {"stable": stable}, {"canary": canary})

    def _second(self, weight: int) -> None:
        chance = self._random
        self._at += 1
        self._machine = 0.9 * self._machine + chance.gauss(0, 0.15)
        for track in self._held_up:
            self._held_up[track] = 20.0 if chance.random() < 1 / 60 else 1.0
        for _ in range(self._keys()):
            self._key(self._track(weight))
            for _ in EVENTS:
                self._answer(self._track(weight), REQUEST)
                self._answer(self._track(weight), chance.choice(CALLS))

    def _keys(self) -> int:
        """Return how many keys begin in a second, as independent arrivals do."""
        left, number = exp(-self._rate / len(EVENTS)), 0
        product = self._random.random()
        while product > left:
            product *= self._random.random()
            number += 1
        return number

    def _track(self, weight: int) -> str:
        return "canary" if self._random.random() * 100 < weight else "stable"

    def _key(self, track: str) -> None:
        """Handle all events of a key, which stays on one side."""
        version, side = self._versions[track], self._sides[track]
        fails = self._random.random() < version.failing_keys
        for event in EVENTS:
            took = self._seconds(track, event.median)
            side.observe(event.seconds, took, FAST)
            if fails:
                side.count(event.failed)
                side.count(event.given_up)
                continue
            if self._random.random() < version.failures:
                side.count(event.failed)
            side.count(event.handled)
            side.observe(event.latency, 0.01 + 5 * took, LATE)
        side.observe(AMOUNT, exp(self._random.gauss(log(1500), 1.0)) * version.amounts, AMOUNTS)

    def _answer(self, track: str, kind: Answered) -> None:
        side = self._sides[track]
        failed = self._random.random() < self._versions[track].errors
        side.count(kind.bad if failed else kind.good)
        side.observe(kind.seconds, self._seconds(track, kind.median), FAST)

    def _seconds(self, track: str, median: float) -> float:
        """Return how long something takes now."""
        spread = exp(self._random.gauss(self._machine, 0.6))
        return median * spread * self._held_up[track] * self._versions[track].slower
