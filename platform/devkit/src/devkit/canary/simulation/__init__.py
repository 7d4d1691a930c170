"""Simulated canaries: how often the analysis aborts a good version, and finds a bad one.

`python -m devkit.canary.simulation` prints the figures.
"""

from devkit.canary.simulation.rollout import Ending, Plan, roll_out
from devkit.canary.simulation.scenarios import SCENARIOS, Scenario

__all__ = ["SCENARIOS", "Ending", "Plan", "Scenario", "roll_out"]
