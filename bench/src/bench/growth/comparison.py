"""The same work when its surroundings grow: each large case against the small one."""

from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial

from bench.comparison import Comparison, Contender, Role, Target
from bench.handlers.comparison import checked
from bench.stage import Stage
from bench.worker import Sample, Work
from devkit.errors import DevkitError
from localservers import NatsServer

__all__ = ["growing"]

_REACH = 0.9
_COUNT = 5000
_WARM = 500
_SINGLE = 300
_SENT_AT_ONCE = 50_000
"""Number of sent events that one process publishes, which has a limit in time."""
_CAVEATS = (
    "A `def` handler on SQLite, relay off. The ratio is the small case's cost in the other's."
)


def growing() -> list[Comparison]:
    """Return the comparisons."""
    return [
        _comparison(
            "growth-backlog",
            "A handler that begins at the oldest event of a stream",
            [_handler(f"backlog of {n:,} events", backlog=n) for n in (10_000, 100_000)],
            _CAVEATS,
        ),
        _comparison(
            "growth-outbox",
            "Publishing and relaying single events after many that were sent",
            [_relay(n) for n in (0, 100_000)],
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
    ]


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
        bytes = around.get("bytes", 0)
        filled = backlog or count + _WARM
        broker = stage.keep(f"{filled} {bytes}", partial(_filled, stage, filled, bytes))
        work = Work(
            variant="def",
            count=stage.count(count),
            warm=0 if stage.tiny else _WARM,
            nats=broker.url,
            database=stage.database("sqlite"),
            around={name: stage.count(number) for name, number in around.items()},
            servers={"nats-server": broker.pid},
        )
        return checked(stage, stage.run("handlers.slipway", work))

    return Contender(name, Role.OURS, run)


def _filled(stage: Stage, events: int, bytes: int, exits: ExitStack) -> NatsServer:
    """Return a broker that has a stream with these orders."""
    broker = exits.enter_context(NatsServer(stage.folder / f"nats-{events}-{bytes}"))
    around = {"events": stage.count(events), "bytes": stage.count(bytes)}
    work = Work(nats=broker.url, database=stage.database("sqlite"), around=around)
    stage.run("handlers.fill", work)
    return broker


def _relay(sent: int) -> Contender:
    """Return the relay after this number of sent events, in a database that all rounds share."""

    def run(stage: Stage) -> Sample:
        work = stage.keep(f"{sent} sent", partial(_sent, stage, sent))
        sample = stage.run("growth.outbox", work)
        if sample.check["in outbox"] != sample.check["in stream"]:
            raise DevkitError(f"growth.outbox: events differ: {sample.check}")
        return sample

    return Contender(f"{sent:,} sent events", Role.OURS, run)


def _sent(stage: Stage, sent: int, exits: ExitStack) -> Work:
    """Return the work on a database whose outbox has these sent events."""
    broker = exits.enter_context(NatsServer(stage.folder / f"nats-{sent}-sent"))
    database = stage.database("sqlite")
    left = stage.count(sent)
    while left:
        some = min(left, _SENT_AT_ONCE)
        stage.run(
            "growth.outbox", Work(variant="fill", count=some, nats=broker.url, database=database)
        )
        left -= some
    return Work(
        variant="one at a time",
        count=stage.count(_SINGLE),
        warm=0 if stage.tiny else _SINGLE // 10,
        nats=broker.url,
        database=database,
        servers={"nats-server": broker.pid},
    )
