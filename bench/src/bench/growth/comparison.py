"""The same work when its surroundings grow: each large case against the small one."""

from collections.abc import Sequence

from bench.comparison import Comparison, Contender, Figure, Role, Target
from bench.growth.replicas import SHARE, replicas
from bench.growth.sent import sent
from bench.handlers.comparison import checked
from bench.stage import Stage
from bench.worker import Sample, Work
from devkit.errors import DevkitError

__all__ = ["SHARED_ROWS", "growing"]

_REACH = 0.9
SHARED_ROWS = "2 replicas, rows that keys share"
_COUNT = 5000
_WARM = 500
_SINGLE = 300
_CAVEATS = (
    "A `def` handler on SQLite, relay off. The ratio is the small case's cost in the other's."
)


def growing() -> list[Comparison]:
    """Return the comparisons."""
    return [
        _comparison(
            "growth-backlog",
            "A handler that begins at the oldest event of a stream",
            [_handler(f"backlog of {n:,} events", backlog=n) for n in (10_000, 1_000_000)],
            _CAVEATS,
        ),
        _comparison(
            "growth-outbox",
            "Publishing and relaying single events after many that were sent",
            [_relay(n) for n in (0, 1_000_000)],
            "SQLite. An event is published when the one before was sent. Looks of the idle relay"
            " are included.",
        ),
        _comparison(
            "growth-tasks",
            "A handler whose database has waiting tasks and dead letters",
            [_handler(f"{n:,} tasks and {n:,} dead letters", waiting=n) for n in (0, 100_000)],
            f"{_CAVEATS} The tasks are of other keys and due in a year.",
        ),
        _comparison(
            "growth-types",
            "A handler of a service that subscribes to many event types of a stream",
            [_handler(_types(n), types=n - 1) for n in (1, 10, 100)],
            f"{_CAVEATS} The events are of one type.",
        ),
        _comparison(
            "growth-payload",
            "A handler of large events, which publishes as large ones",
            [_handler(f"{n:,} bytes more", bytes=n, count=2000) for n in (0, 1024, 4096, 65_536)],
            f"{_CAVEATS} A field is filled with these bytes. There is no target: it is a curve.",
            has_targets=False,
        ),
        _replicas(),
    ]


def _replicas() -> Comparison:
    """Return the comparison of one replica with several."""
    names = {n: f"{n} replica{'s' if n > 1 else ''}" for n in (1, 2, 3, 4)}
    one = names[1]
    several = [n for n in names if n > 1]
    costs = [Target(f"CPU, {names[n]} against {one}", names[n], one, _REACH) for n in several]
    rates = [
        Target(
            f"rate, {names[n]} with the same share each against {one}",
            names[n],
            one,
            _REACH * n,
            figure=Figure.SHARED,
        )
        for n in several
    ]
    return Comparison(
        name="growth-replicas",
        title="A handler in one to four replicas, which share a PostgreSQL",
        unit="event",
        contenders=[
            *(Contender(name, Role.OURS, replicas(n, "own rows")) for n, name in names.items()),
            Contender(SHARED_ROWS, Role.OURS, replicas(2, "shared rows")),
        ],
        targets=[*costs, *rates],
        caveats=(
            "A `def` handler, relay off. The measurement begins when each replica has its lanes."
            " Events of different keys change different rows, except in the last case: there,"
            " transactions of a batch lock rows in any order, and PostgreSQL ends deadlocks after"
            " a second."
            f" Where control groups of Linux can be made, which needs root, each replica gets"
            f" {SHARE:.0%} of a processor, so that replicas do not take it from each other;"
            " broker and PostgreSQL are not limited. Elsewhere “rate by shares” is missing."
            " “Own process” is that of all replicas."
        ),
        figures=(Figure.CPU, Figure.OWN, Figure.SHARED),
    )


def _types(count: int) -> str:
    return f"{count} event type{'s' if count > 1 else ''}"


def _comparison(
    name: str,
    title: str,
    contenders: Sequence[Contender],
    caveats: str,
    *,
    has_targets: bool = True,
) -> Comparison:
    """Return a comparison of cases, of which the first one is the small one."""
    small, *larger = contenders
    targets = [
        Target(f"{large.name} against {small.name}", large.name, small.name, _REACH)
        for large in larger
    ]
    return Comparison(
        name=name,
        title=title,
        unit="event",
        contenders=contenders,
        targets=targets if has_targets else (),
        caveats=caveats,
    )


def _handler(name: str, *, backlog: int = 0, count: int = _COUNT, **around: int) -> Contender:
    """Return the handler with these surroundings. The backlog is by default what it handles."""

    def run(stage: Stage) -> Sample:
        orders = sent(stage, backlog or count + _WARM, around.get("bytes", 0))
        work = Work(
            variant="def",
            count=stage.count(count),
            warm=0 if stage.tiny else _WARM,
            nats=orders.broker.url,
            database=stage.database("sqlite"),
            around={name: stage.count(number) for name, number in around.items()},
            servers={"nats-server": orders.broker.pid},
        )
        return checked(stage, stage.run("handlers.slipway", work))

    return Contender(name, Role.OURS, run)


def _relay(before: int) -> Contender:
    """Return the relay after this number of sent events, in a database that all rounds share."""

    def run(stage: Stage) -> Sample:
        orders = sent(stage, before)
        work = Work(
            count=stage.count(_SINGLE),
            warm=0 if stage.tiny else _SINGLE // 10,
            nats=orders.broker.url,
            database=orders.database,
            servers={"nats-server": orders.broker.pid},
        )
        sample = stage.run("growth.outbox", work)
        if sample.check["in outbox"] != sample.check["in stream"]:
            raise DevkitError(f"growth.outbox: events differ: {sample.check}")
        return sample

    return Contender(f"{before:,} sent events", Role.OURS, run)
