"""Every contender of the benchmark does the work that its comparison asks for."""

import asyncio
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, ClassVar

import pytest
from sqlalchemy import text

from bench.comparison import Comparison, Contender, Role
from bench.comparisons import all_comparisons, choose
from bench.handlers import fill, slipway
from bench.meter import Meter
from bench.relay import slipway as our_relay
from bench.stage import Peers, Stage
from bench.worker import Check, Sample, Work
from chassis import Transaction
from chassis.database import Database, migrate
from chassis.events.producer.event_factory import EventFactory
from shop.inventory.v1 import StockReserved


class StageInThisProcess(Stage):
    """Runs this platform's contenders here, where its libraries are imported already."""

    _CONTENDERS: ClassVar[dict[str, Callable[[Work, Meter], Coroutine[Any, Any, Check]]]] = {
        "handlers.fill": fill.fill,
        "handlers.slipway": slipway.handle,
        "relay.slipway": our_relay.relay,
    }

    def run(self, module: str, work: Work, *, peers: bool = False) -> Sample:
        meter = Meter(work.servers)
        if not work.warm:
            meter.mark(0)
        return Sample.of(meter, asyncio.run(self._CONTENDERS[module](work, meter)))


def contenders_of(comparison: Comparison) -> list[Contender]:
    """Return the contenders that can run here: those of other libraries if they are installed."""
    return [c for c in comparison.contenders if Peers.installed() or not c.by_peers]


def parameter(comparison: Comparison) -> object:
    return pytest.param(comparison, id=comparison.name)


@pytest.mark.parametrize("name", ["handlers-sqlite", "relay-sqlite"])
def test_our_handlers_and_our_relay_do_their_work_and_pass_the_check(
    name: str, tmp_path: Path
) -> None:
    (comparison,) = choose([name])
    ours = [c for c in comparison.contenders if c.role is Role.OURS]
    with StageInThisProcess(tmp_path, tiny=True) as stage:
        comparison.prepare(stage)
        assert all(contender.run(stage).units > 0 for contender in ours)


def test_every_codec_returns_the_ids_that_it_was_given(tmp_path: Path) -> None:
    (comparison,) = choose(["cloudevents"])
    with Stage(tmp_path, tiny=True) as stage:
        assert all(contender.run(stage).units > 0 for contender in comparison.contenders)


@pytest.mark.soak
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("comparison", [parameter(c) for c in all_comparisons()])
def test_every_contender_does_its_work_and_passes_the_check(
    comparison: Comparison, tmp_path: Path
) -> None:
    with Stage(tmp_path, tiny=True) as stage:
        comparison.prepare(stage)
        samples = [contender.run(stage) for contender in contenders_of(comparison)]
    assert samples
    assert all(sample.units > 0 for sample in samples)


async def test_events_of_a_transaction_that_is_repeated_are_counted_once(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'some.db'}"
    migrate(url)
    database = Database(url, EventFactory("inventory", (StockReserved,)))
    progress = slipway.Progress(Work(count=3), Meter({}))

    def handle(tx: Transaction, statement: str) -> None:
        for _ in range(3):
            progress.count(tx, 1)
        tx.session.execute(text(statement))

    with pytest.raises(Exception, match="no such table"):
        await database.transaction(lambda tx: handle(tx, "SELECT * FROM nowhere"))
    assert progress.handled == 0
    await database.transaction(lambda tx: handle(tx, "SELECT 1"))
    await asyncio.wait_for(progress.done.wait(), 10)
    assert progress.handled == 3
    await asyncio.to_thread(database.close)
