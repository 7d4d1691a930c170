"""One to four replicas of a service on one database, each with the same share of a processor."""

import json
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path

from sqlalchemy import func, select

from bench.comparison import Figure
from bench.cpu_share import CpuShare
from bench.growth.replica import ACCOUNTS_BY_VARIANT
from bench.growth.sent import sent
from bench.handlers.accounts import expected
from bench.handlers.slipway import metadata, open_accounts, read_check
from bench.meter import OWN, Mark, cpu_seconds
from bench.processes import check_alive
from bench.stage import Stage
from bench.worker import Sample, Work
from chassis.database import Database, migrate, tables
from chassis.events.producer.event_factory import EventFactory
from devkit.errors import DevkitError

__all__ = ["SHARE", "replicas"]

SHARE = 0.15
"""The share of a processor that each replica gets."""
_STREAM = 12_000
_EACH = 1200
_WARM_EACH = 100
_SECONDS = 240.0
_LOOK_SECONDS = 0.02
_STOP_SECONDS = 60.0
_HANDLED = select(func.coalesce(func.sum(tables.positions.c.number), 0))


def replicas(number: int, variant: str) -> Callable[[Stage], Sample]:
    """Return a contender: this number of replicas handles the events of a stream.

    The measured events begin when each replica has its lanes. Afterwards the limits are lifted, and
    the replicas handle the rest, so that the check sees all events.
    """

    def run(stage: Stage) -> Sample:
        orders = sent(stage, _STREAM)
        url = stage.database("postgres")
        migrate(url)
        database = Database(url, EventFactory("inventory"))
        metadata.create_all(database.engine)
        database.transact(open_accounts)
        work = Work(
            variant=variant,
            nats=orders.broker.url,
            database=url,
            around={"replicas": number},
        )
        servers = {"nats-server": orders.broker.pid, "postgres": stage.postgres.pid}
        with ExitStack() as exits:
            exits.callback(database.close)
            shares = [exits.enter_context(CpuShare.held()) for _ in range(number)]
            id = uuid.uuid4().hex[:8]
            logs = [stage.folder / f"replica-{id}-{n}.log" for n in range(number)]
            pids = {
                f"replica {n}": exits.enter_context(_replica(log, work, share))
                for n, (log, share) in enumerate(zip(logs, shares, strict=True), 1)
            }
            meter = _Meter(database, pids, servers)
            begin = meter.wait_for(0)
            _wait_until_ready(logs, pids)
            if not stage.tiny:
                begin = meter.wait_for(meter.handled() + _WARM_EACH * number)
            end = meter.wait_for(begin.units + stage.count(_EACH * number))
            for share in shares:
                if share is not None:
                    share.limit(None)
            meter.wait_for(stage.count(_STREAM))
            check = database.read_here(read_check)
        wanted = expected(
            Work(orders=str(stage.orders)).read_orders(), ACCOUNTS_BY_VARIANT[variant]
        )
        if check != wanted:
            raise DevkitError(f"{number} replicas: found {check}, not {wanted}")
        cpu = {name: end.cpu[name] - begin.cpu[name] for name in begin.cpu}
        units, seconds = end.units - begin.units, end.at - begin.at
        figures = {Figure.SHARED.value: units / seconds} if all(shares) else {}
        return Sample(units, seconds, cpu, check, figures)

    return run


class _Meter:
    """Reads the number of handled events from the positions in the database."""

    def __init__(
        self, database: Database, replicas: Mapping[str, int], servers: Mapping[str, int]
    ) -> None:
        self._database = database
        self._replicas = replicas
        self._servers = servers

    def handled(self) -> int:
        """Return the number of events that have taken effect."""
        return int(self._database.read_here(lambda tx: tx.session.execute(_HANDLED).scalar_one()))

    def wait_for(self, handled: int) -> Mark:
        """Return the moment at which at least this number of events has taken effect.

        Raises:
            DevkitError: it takes too long, or a replica has ended.
        """
        ends_at = time.monotonic() + _SECONDS
        while (found := self.handled()) < handled:
            if time.monotonic() > ends_at:
                raise DevkitError(f"replicas handled {found} events, not {handled}")
            check_alive(self._replicas)
            time.sleep(_LOOK_SECONDS)
        check_alive(self._replicas)
        own = sum(map(cpu_seconds, self._replicas.values()))
        servers = {name: cpu_seconds(pid) for name, pid in self._servers.items()}
        return Mark(found, time.perf_counter(), {OWN: own, **servers})


@contextmanager
def _replica(log: Path, work: Work, share: CpuShare | None) -> Iterator[int]:
    """Run a replica until the block ends; yield the id of its process."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.growth.replica", json.dumps(asdict(work))],
            stdout=out,
            stderr=subprocess.STDOUT,
        )
    try:
        if share is not None:
            share.add(process.pid)
            share.limit(SHARE)
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_ready(logs: Sequence[Path], replicas: Mapping[str, int]) -> None:
    """Wait until each replica knows all others.

    Raises:
        DevkitError: it takes too long, with the end of a replica's output; or one has ended.
    """
    ends_at = time.monotonic() + _SECONDS
    for log in logs:
        while "ready" not in (output := log.read_text(encoding="utf-8", errors="replace")):
            if time.monotonic() > ends_at:
                raise DevkitError(f"a replica is not ready:\n{output[-2000:]}")
            check_alive(replicas)
            time.sleep(_LOOK_SECONDS)
