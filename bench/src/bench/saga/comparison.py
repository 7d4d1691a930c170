"""The saga of an order on this platform and on FastStream, in bulk and at a gentle rate."""

from collections.abc import Callable
from contextlib import ExitStack
from itertools import count

from bench.comparison import Comparison, Contender, Figure, Role, Target
from bench.orders import write_some
from bench.saga.shops import Shop, faststream_shop, platform, shop_by_hand
from bench.stage import DatabaseKind, Stage
from bench.worker import Sample, Work
from devkit.errors import DevkitError

__all__ = ["saga"]

_PEER = "FastStream shop"
_HAND = "by hand"
_OURS = "platform"
_LATENCIES = (Figure.ACCEPTED, Figure.CONFIRMED, Figure.CONFIRMED_95, Figure.CONFIRMED_99)
_WARM = 24
# Number of measured orders. At a rate they take a quarter of a minute.
_COUNTS = {"in flight": 400, "per second": 120}
_PAYABLE_CENTS = 15_000
_CAVEATS = (
    "All orders are confirmed, and a round ends when the last one is. CPU time is that of all"
    " processes but the client; “own process” is that of all services. The FastStream shop has"
    " four services with FastAPI, an inbox, and an outbox polled each 100 ms; it asks for prices"
    " by a request over NATS. The shop by hand is the same with the bare drivers, and without"
    " inbox, outbox and acknowledgments: it loses events and handles others twice. The platform"
    " has five services and the runner of `slipway run`, and does more for an order: a gateway,"
    " two gRPC calls, a history of events, metrics, logs."
)
_NOT_SYNCED = (
    "Both have a PostgreSQL as `slipway run --database postgres` starts it, with `fsync` off."
)


def saga() -> list[Comparison]:
    """Return the comparisons: 32 orders in flight and 8 per second, on SQLite and PostgreSQL."""
    return [
        _in_flight("saga-in-flight", "SQLite", "sqlite", 12_000),
        _per_second("saga-per-second", "SQLite", "sqlite", 25_000),
        _in_flight("saga-in-flight-postgres", "PostgreSQL", "postgres", 20_000),
        _per_second("saga-per-second-postgres", "PostgreSQL", "postgres", 40_000),
    ]


def _in_flight(name: str, database: str, kind: DatabaseKind, most: float) -> Comparison:
    """Return the comparison in bulk. An order may cost `most` microseconds of CPU."""
    title = f"The saga of an order on {database}, of which 32 are in flight"
    headline = "order of the sample shop, 32 in flight" if kind == "postgres" else ""
    return _comparison(name, title, "in flight", kind, most, headline=headline)


def _per_second(name: str, database: str, kind: DatabaseKind, most: float) -> Comparison:
    """Return the comparison at a gentle rate, where latency counts, too."""
    title = f"The saga of an order on {database}, of which 8 are placed per second"
    confirmed = Target(
        "POST to OrderConfirmed, median: its time in the FastStream shop's",
        _OURS,
        _PEER,
        0.4,
        floor=_HAND,
        at_most=True,
        figure=Figure.CONFIRMED,
        headline="time from POST to OrderConfirmed, 8 per second" if kind == "postgres" else "",
    )
    return _comparison(name, title, "per second", kind, most, confirmed)


def _comparison(
    name: str,
    title: str,
    variant: str,
    kind: DatabaseKind,
    most: float,
    *further: Target,
    headline: str = "",
) -> Comparison:
    return Comparison(
        name=name,
        title=title,
        unit="order",
        contenders=(
            Contender(_PEER, Role.PEER, _placing(variant, kind, faststream_shop), by_peers=True),
            Contender(_HAND, Role.FLOOR, _placing(variant, kind, shop_by_hand), by_peers=True),
            Contender(_OURS, Role.OURS, _placing(variant, kind, platform)),
        ),
        targets=(
            Target(
                "CPU of an order against the FastStream shop",
                _OURS,
                _PEER,
                3,
                floor=_HAND,
                headline=headline,
            ),
            Target("CPU of an order", _OURS, None, most, floor=_HAND, at_most=True),
            *further,
        ),
        caveats=f"{_CAVEATS} {_NOT_SYNCED}" if kind == "postgres" else _CAVEATS,
        figures=(Figure.CPU, Figure.OWN, Figure.RATE, *_LATENCIES),
    )


def _placing(
    variant: str,
    kind: DatabaseKind,
    shop: Callable[[Stage, DatabaseKind], Callable[[ExitStack], Shop]],
) -> Callable[[Stage], Sample]:
    """Return a contender: a client places orders at a shop, which lasts for all rounds."""
    rounds = count()

    def run(stage: Stage) -> Sample:
        running = stage.keep(shop.__name__, shop(stage, kind))
        warm, number = stage.count(_WARM), stage.count(_COUNTS[variant])
        orders = stage.folder / f"{shop.__name__}.jsonl"
        # Each round has other orders.
        first = next(rounds) * (warm + number)
        write_some(stage.orders, orders, first, warm + number, _PAYABLE_CENTS)
        work = Work(
            variant=variant,
            orders=str(orders),
            count=warm + number,
            warm=warm,
            nats=running.nats,
            address=running.address,
            subjects=running.ends,
            servers={**running.services, **running.servers},
        )
        sample = stage.run("saga.client", work)
        if (confirmed := sample.check.pop("confirmed")) != number:
            raise DevkitError(f"{shop.__name__}: {confirmed} of {number} orders were confirmed")
        cpu = running.by_part(sample.cpu)
        return Sample(sample.units, sample.seconds, cpu, figures=sample.check)

    return run
