"""The start of the platform against imports alone; memory and idle CPU of a service."""

from bench.comparison import Comparison, Contender, Figure, Role, Target
from bench.services import alone, cold_imports, platform_run

__all__ = ["at_rest", "starting"]

_IMPORTS = "five interpreters that import the libraries"
_RUN = "slipway run, until five services are ready"
_DEMO = "slipway demo, until five services are ready"
_BARE = "bare process with the same servers"
_ALONE = "orders alone"
_EACH = "each of five services under slipway run"


def starting() -> Comparison:
    """Return the comparison of starts."""
    return Comparison(
        name="start",
        title="The start of the whole platform: broker, five services, their databases",
        unit="start",
        contenders=(
            Contender(_IMPORTS, Role.FLOOR, cold_imports.import_in_five_processes),
            Contender(_RUN, Role.OURS, platform_run.start),
            Contender(_DEMO, Role.OURS, platform_run.start_demo),
        ),
        targets=(
            Target("make run, in imports alone", _RUN, _IMPORTS, 0.45, at_most=True),
            Target("make demo, in imports alone", _DEMO, _IMPORTS, 0.45, at_most=True),
        ),
        caveats=(
            "On Linux the runner forks services from a process that has imported the libraries."
            " All processes count, the runner and the broker included, migrations too."
        ),
    )


def at_rest() -> Comparison:
    """Return the comparison of what processes take that have nothing to do."""
    return Comparison(
        name="rest",
        title="A service that has nothing to do",
        unit="process",
        contenders=(
            Contender(_BARE, Role.FLOOR, alone.bare_process),
            Contender(_ALONE, Role.OURS, alone.orders),
            Contender(_EACH, Role.OURS, platform_run.rest),
        ),
        targets=(
            Target("memory alone", _ALONE, None, 62, _BARE, at_most=True, figure=Figure.MEMORY),
            Target("memory of each", _EACH, None, 45, _BARE, at_most=True, figure=Figure.MEMORY),
            Target("idle CPU", _EACH, None, 0.2, _BARE, at_most=True, figure=Figure.IDLE),
        ),
        figures=(Figure.MEMORY, Figure.IDLE),
        caveats=(
            "Memory is counted by proportional share: a page that several processes share is"
            " divided among them. The idle CPU is measured for 30 s."
        ),
    )
