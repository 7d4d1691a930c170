"""The relay of this platform against the usual one, and against one by hand."""

from collections.abc import Callable
from functools import cache, partial
from pathlib import Path

from google.protobuf.json_format import ParseDict

from bench.comparison import Comparison, Contender, Role, Target
from bench.relay.rows import Row, found, read_rows, write_rows
from bench.stage import DatabaseKind, Stage
from bench.worker import Check, Sample, Work
from chassis.events.producer.event_factory import EventFactory
from devkit.errors import DevkitError
from shop.orders.v1 import OrderPlaced

__all__ = ["on_postgres", "on_sqlite"]

# The kernel counts CPU time of the servers in steps of 10 ms, which is little for this number.
_ROWS = 12_000
_AWAITED = "awaited one by one, SQLAlchemy async"
_BY_HAND = "by hand, 500 in one write"
_RELAY = "relay"
_CAVEATS = (
    "All start from a filled outbox with events of the same orders, and end when every event is"
    " recorded as sent and every message acknowledged; a check compares the stream with"
    " the outbox. The awaited relay has 3,000 events. The relay by hand relies on the broker to"
    " drop duplicates; ours relies on nothing but the numbers that it gives."
)


def on_sqlite() -> Comparison:
    """Return the comparison on SQLite."""
    return _comparison("sqlite", "SQLite")


def on_postgres() -> Comparison:
    """Return the comparison on PostgreSQL."""
    return _comparison("postgres", "PostgreSQL")


def _comparison(kind: DatabaseKind, database: str) -> Comparison:
    def contender(name: str, role: Role, module: str, count: int, *, peers: bool) -> Contender:
        return Contender(name, role, _run(module, kind, count, peers=peers), by_peers=peers)

    return Comparison(
        name=f"relay-{kind}",
        title=f"From a row in the outbox to an acknowledged message, on {database}",
        unit="event",
        contenders=(
            contender(_AWAITED, Role.PEER, "relay.awaited", 3000, peers=True),
            contender(_BY_HAND, Role.FLOOR, "relay.by_hand", _ROWS, peers=True),
            contender(_RELAY, Role.OURS, "relay.slipway", _ROWS, peers=False),
        ),
        targets=(
            Target(
                f"against {_AWAITED}",
                _RELAY,
                _AWAITED,
                8,
                floor=_BY_HAND,
                headline="event from the outbox to the stream" if kind == "postgres" else "",
            ),
            Target(f"against {_BY_HAND}", _RELAY, _BY_HAND, 0.85),
        ),
        caveats=_CAVEATS,
    )


def _run(module: str, kind: DatabaseKind, count: int, *, peers: bool) -> Callable[[Stage], Sample]:
    def run(stage: Stage) -> Sample:
        rows = stage.keep("rows", partial(_write_rows, stage))
        work = Work(
            orders=str(rows),
            count=stage.count(count),
            warm=1,
            nats=stage.nats.url,
            database=stage.database(kind, asynchronous=module == "relay.awaited"),
            servers=stage.servers(kind),
        )
        sample = stage.run(module, work, peers=peers)
        if sample.check != (wanted := _expected(str(rows), work.count)):
            raise DevkitError(f"{module}: the stream has {sample.check}, not {wanted}")
        return sample

    return run


def _write_rows(stage: Stage, _exits: object) -> Path:
    """Write the orders as rows of an outbox, with the headers that this platform gives them."""
    factory = EventFactory("orders", (OrderPlaced,))
    file = stage.folder / "rows.jsonl"
    orders = Work(orders=str(stage.orders)).read_orders()[:_ROWS]
    made = (factory.create(ParseDict(order, OrderPlaced()), None)[1] for order in orders)
    rows = (Row(row.event_id, row.headers.decode(), row.data) for row in made)
    write_rows(file, rows)
    return file


@cache
def _expected(file: str, count: int) -> Check:
    return found(row.data for row in read_rows(file, count))
