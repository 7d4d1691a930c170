"""The saga of an order on this platform and on FastStream, in bulk and at a gentle rate."""

from collections.abc import Callable
from contextlib import ExitStack
from itertools import count

from bench.comparison import Comparison, Contender, Figure, Role, Target
from bench.orders import write_some
from bench.saga.shops import Shop, faststream_shop, platform
from bench.stage import Stage
from bench.worker import Sample, Work
from devkit.errors import DevkitError

__all__ = ["saga"]

_PEER = "FastStream shop"
_OURS = "platform"
_LATENCIES = (Figure.ACCEPTED, Figure.CONFIRMED, Figure.CONFIRMED_95, Figure.CONFIRMED_99)
_WARM = 24
# Number of measured orders. At a rate they take a quarter of a minute.
_COUNTS = {"in flight": 400, "per second": 120}
_PAYABLE_CENTS = 15_000
_CAVEATS = (
    "All orders are confirmed, and a round ends when the last one is. CPU time is that of all"
    " processes but the client. The FastStream shop has four services with FastAPI, an inbox, and"
    " an outbox polled each 100 ms; it asks for prices by a request over NATS. The platform has"
    " five services and the runner of `slipway run`, and does more for an order: a gateway, two"
    " gRPC calls, a history of events, metrics, logs."
)


def saga() -> list[Comparison]:
    """Return the comparisons on SQLite: 32 orders in flight, and 8 orders per second."""
    return [
        _comparison(
            "saga-in-flight",
            "The saga of an order, of which 32 are in flight",
            "in flight",
            Target("CPU of an order against the FastStream shop", _OURS, _PEER, 3),
            Target("CPU of an order", _OURS, None, 12_000, at_most=True),
        ),
        _comparison(
            "saga-per-second",
            "The saga of an order, of which 8 are placed per second",
            "per second",
            Target("CPU of an order against the FastStream shop", _OURS, _PEER, 3),
            Target("CPU of an order", _OURS, None, 25_000, at_most=True),
            Target(
                "POST to OrderConfirmed, median: its time in the FastStream shop's",
                _OURS,
                _PEER,
                0.4,
                at_most=True,
                figure=Figure.CONFIRMED,
            ),
        ),
    ]


def _comparison(name: str, title: str, variant: str, *targets: Target) -> Comparison:
    return Comparison(
        name=name,
        title=title,
        unit="order",
        contenders=(
            Contender(_PEER, Role.PEER, _placing(variant, faststream_shop), by_peers=True),
            Contender(_OURS, Role.OURS, _placing(variant, platform)),
        ),
        targets=targets,
        caveats=_CAVEATS,
        figures=(Figure.CPU, Figure.RATE, *_LATENCIES),
    )


def _placing(
    variant: str, shop: Callable[[Stage], Callable[[ExitStack], Shop]]
) -> Callable[[Stage], Sample]:
    """Return a contender: a client places orders at a shop, which lasts for all rounds."""
    rounds = count()

    def run(stage: Stage) -> Sample:
        running = stage.keep(shop.__name__, shop(stage))
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
            servers=dict(running.processes),
        )
        sample = stage.run("saga.client", work)
        if (confirmed := sample.check.pop("confirmed")) != number:
            raise DevkitError(f"{shop.__name__}: {confirmed} of {number} orders were confirmed")
        return Sample(sample.units, sample.seconds, sample.cpu, figures=sample.check)

    return run
