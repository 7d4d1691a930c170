"""The canaries that are simulated."""

from collections.abc import Mapping
from dataclasses import dataclass

from devkit.canary.simulation.traffic import GOOD, Version

__all__ = ["SCENARIOS", "Scenario"]


@dataclass(frozen=True)
class Scenario:
    """A canary's version, and whether it should be aborted."""

    canary: Version
    bad: bool = True


SCENARIOS: Mapping[str, Scenario] = {
    "as good as stable": Scenario(GOOD, bad=False),
    "a fifth slower": Scenario(Version(slower=1.2), bad=False),
    "3 % of keys fail": Scenario(Version(failing_keys=0.03)),
    "5 times slower": Scenario(Version(slower=5.0)),
    "doubled amounts": Scenario(Version(amounts=2.0)),
    "5 % of requests fail": Scenario(Version(errors=0.05)),
}
