"""Handlers of events against FastStream with SQLAlchemy's asynchronous layer, and by hand."""

from collections.abc import Callable
from functools import cache, partial

from bench.comparison import Comparison, Contender, Role, Target
from bench.handlers.accounts import expected
from bench.stage import DatabaseKind, Stage
from bench.worker import Check, Sample, Work
from devkit.errors import DevkitError

__all__ = ["checked", "on_postgres", "on_sqlite"]

_EFFECT_ONCE = "FastStream with SQLAlchemy async"
_EMPTY = "FastStream, empty handler"
_ONE_EACH = "by hand, one update for each event"
_SETS = "by hand, set-based"
_NO_DATABASE = "by hand, fetch and acknowledge only"
_DEF = "def"
_DEF_RELAYED = "def, relay on"
_BATCH = "on_batch"
_BATCH_RELAYED = "on_batch, relay on"
# Before the measurement, two full batches of the contenders that take batches are handled.
_WARM = 1000

_CAVEATS = (
    "FastStream with SQLAlchemy async keeps an inbox and an outbox, in one commit for each event;"
    " its empty handler has no database. FastStream's outbox is written and not relayed, as with"
    " “relay off”. Contenders handle different numbers of events, those up to the 1,000th"
    " (FastStream: the 100th) are not measured, and"
    " a check compares balances and published events with the orders. FastStream reads"
    " CloudEvents in JSON, this platform reads protobuf: each its usual format."
)


def on_sqlite() -> Comparison:
    """Return the comparison on SQLite."""
    return _comparison(
        "sqlite",
        "SQLite",
        _target(_DEF, _EFFECT_ONCE, 14, _ONE_EACH, "event in a `def` handler, effect once, SQLite"),
        _target(_BATCH, _EFFECT_ONCE, 17, _SETS),
        _target(_DEF_RELAYED, _EMPTY, 1.0, _NO_DATABASE),
        _target(_BATCH_RELAYED, _EMPTY, 1.0, _NO_DATABASE),
    )


def on_postgres() -> Comparison:
    """Return the comparison on PostgreSQL."""
    return _comparison(
        "postgres",
        "PostgreSQL",
        _target(_DEF, _EFFECT_ONCE, 9, _ONE_EACH, "the same, PostgreSQL"),
        _target(_BATCH, _EFFECT_ONCE, 18, _SETS),
        _target(
            _BATCH_RELAYED,
            _EMPTY,
            1.0,
            _NO_DATABASE,
            "event in an `on_batch` handler and relay of its result, PostgreSQL",
        ),
    )


def _target(ours: str, against: str, reach: float, floor: str, headline: str = "") -> Target:
    return Target(f"{ours} against {against}", ours, against, reach, floor, headline=headline)


def _comparison(kind: DatabaseKind, database: str, *targets: Target) -> Comparison:
    def contender(name: str, role: Role, run: Callable[[DatabaseKind, Stage], Sample]) -> Contender:
        by_peers = role is not Role.OURS
        return Contender(name, role, partial(run, kind), by_peers=by_peers)

    return Comparison(
        name=f"handlers-{kind}",
        title=f"A handler that takes effect once, on {database}",
        unit="event",
        contenders=(
            contender(_EFFECT_ONCE, Role.PEER, _faststream("effect-once", 1000)),
            contender(_EMPTY, Role.PEER, _faststream("empty", 4000)),
            contender(_ONE_EACH, Role.FLOOR, _by_hand("one update each")),
            contender(_SETS, Role.FLOOR, _by_hand("set-based")),
            contender(_NO_DATABASE, Role.FLOOR, _by_hand("no database")),
            contender(_DEF, Role.OURS, _slipway("def", relays=False)),
            contender(_DEF_RELAYED, Role.OURS, _slipway("def", relays=True)),
            contender(_BATCH, Role.OURS, _slipway("on_batch", relays=False)),
            contender(_BATCH_RELAYED, Role.OURS, _slipway("on_batch", relays=True)),
        ),
        targets=targets,
        prepare=_fill,
        caveats=_CAVEATS,
    )


def _fill(stage: Stage) -> None:
    """Fill the streams with the orders."""
    stage.keep("streams", lambda _exits: stage.run("handlers.fill", _work(stage, "sqlite")))


def _faststream(variant: str, count: int) -> Callable[[DatabaseKind, Stage], Sample]:
    def run(kind: DatabaseKind, stage: Stage) -> Sample:
        work = _work(stage, kind, variant, count, warm=100, asynchronous=True)
        return checked(stage, stage.run("handlers.faststream", work, peers=True))

    return run


def _by_hand(variant: str) -> Callable[[DatabaseKind, Stage], Sample]:
    def run(kind: DatabaseKind, stage: Stage) -> Sample:
        work = _work(stage, kind, variant, 9000, warm=_WARM)
        return checked(stage, stage.run("handlers.by_hand", work, peers=True))

    return run


def _slipway(variant: str, *, relays: bool) -> Callable[[DatabaseKind, Stage], Sample]:
    def run(kind: DatabaseKind, stage: Stage) -> Sample:
        work = _work(stage, kind, variant, 9000, warm=_WARM, relays=relays)
        return checked(stage, stage.run("handlers.slipway", work))

    return run


def _work(
    stage: Stage,
    kind: DatabaseKind,
    variant: str = "",
    count: int = 0,
    *,
    warm: int = 0,
    relays: bool = False,
    asynchronous: bool = False,
) -> Work:
    return Work(
        variant=variant,
        orders=str(stage.orders),
        count=stage.count(count),
        warm=0 if stage.tiny else warm,
        nats=stage.nats.url,
        database=stage.database(kind, asynchronous=asynchronous),
        relays=relays,
        servers=stage.servers(kind),
    )


def checked(stage: Stage, sample: Sample) -> Sample:
    """Return the sample if its database holds exactly what the orders must have done.

    Raises:
        DevkitError: it holds something else.
    """
    if sample.check:
        wanted = _expected(str(stage.orders), sample.check["handled"])
        if sample.check != wanted:
            raise DevkitError(f"the work differs: found {sample.check}, not {wanted}")
    return sample


@cache
def _expected(file: str, handled: int) -> Check:
    return expected(Work(orders=file).read_orders()[:handled])
