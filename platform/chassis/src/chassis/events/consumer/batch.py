"""A batch of events in one transaction: positions first, then the handlers, then the outbox.

No savepoints. If a handler fails, everything is rolled back; the events before it run again
together, the failing one alone, and the rest together. What fails alone becomes a task.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from chassis.database import Transaction
from chassis.errors import is_unavailable
from chassis.events.consumer import positions
from chassis.events.consumer.arrival import Arrival, read
from chassis.events.consumer.positions import Position
from chassis.events.handlers.binding import Handler, Reject
from chassis.events.handlers.call import call_batch, call_one
from chassis.events.handlers.failures import reason_of
from chassis.events.tasks import dead_letter_rows
from chassis.events.tasks import rows as task_rows
from chassis.events.tasks.tries import written

__all__ = [
    "HandlerFailed",
    "TakeIn",
    "Taken",
    "move_positions",
    "store_failed",
    "take",
]


# Moves the positions from where they were before these arrivals, and says which of them are new.
TakeIn = Callable[[Session, Sequence[Arrival], Mapping[str, Position]], Sequence[Arrival]]


class HandlerFailed(Exception):
    """A handler raised; `arrivals` are the events it was called with."""

    def __init__(self, arrivals: Sequence[Arrival]) -> None:
        super().__init__(f"the handler of {arrivals[0].type} failed")
        self.arrivals = arrivals


@dataclass(slots=True)
class Taken:
    """What became of a batch's events."""

    handled: list[Arrival] = field(default_factory=list)
    tasks: list[Arrival] = field(default_factory=list)
    dead: list[Arrival] = field(default_factory=list)
    seen: int = 0


@dataclass(slots=True)
class _Group:
    handler: Handler
    arrivals: list[Arrival]


def take(
    tx: Transaction,
    arrivals: Sequence[Arrival],
    before: Mapping[str, Position],
    handlers: Mapping[str, Handler],
    take_in: TakeIn | None = None,
) -> Taken:
    """Let a batch take effect in this transaction. `before` holds each subject's position.

    `take_in` moves the positions, if they are not those of numbered subjects.

    Raises:
        PositionMoved: somebody else took some of these events.
        HandlerFailed: a handler raised.
    """
    for arrival in arrivals:
        read(arrival, handlers[arrival.type])
    new = (take_in or move_positions)(tx.session, arrivals, before)
    readable = [a for a in new if not a.reason]
    taken = Taken(dead=[a for a in new if a.reason], seen=len(arrivals) - len(new))
    blocked = task_rows.blocked_keys(tx.session, {a.key[1] for a in readable})
    if blocked:
        blocked = task_rows.hold_keys(tx.session, blocked)
    before_these = frozenset(blocked)
    runnable: list[Arrival] = []
    for arrival in readable:
        if arrival.suspect or arrival.key in blocked or handlers[arrival.type].kind == "async":
            blocked.add(arrival.key)
            taken.tasks.append(arrival)
        else:
            runnable.append(arrival)
    for group in _groups(runnable, handlers):
        _call(tx, group)
        taken.handled += group.arrivals
    rows = [{**a.row(), "alone": a.suspect} for a in taken.tasks]
    task_rows.store_in_line(tx.session, rows, before_these)
    dead_letter_rows.store(tx.session, [{**a.row(), "reason": a.reason} for a in taken.dead])
    return taken


def store_failed(
    tx: Transaction,
    arrival: Arrival,
    before: Mapping[str, Position],
    error: BaseException,
    due_at: float,
    version: str,
    take_in: TakeIn | None = None,
) -> Taken:
    """An event that failed alone becomes a task or, rejected, a dead letter; its lane goes on.

    Raises:
        PositionMoved: somebody else took it.
    """
    if not (take_in or move_positions)(tx.session, [arrival], before):
        return Taken(seen=1)
    reason = reason_of(error)
    tries = 0 if is_unavailable(error) else 1
    if isinstance(error, Reject):
        arrival.reason = reason
        dead_letter_rows.store(tx.session, [{**arrival.row(), "reason": reason, "tries": tries}])
        return Taken(dead=[arrival])
    task = {**arrival.row(), "reason": reason, "due_at": due_at, **written({version: tries})}
    task_rows.store(tx.session, [task])
    return Taken(tasks=[arrival])


def move_positions(
    session: Session, arrivals: Sequence[Arrival], before: Mapping[str, Position]
) -> Sequence[Arrival]:
    """Move the positions of numbered subjects: all of these are new if that can be done.

    Raises:
        PositionMoved: somebody else took some of them.
    """
    last = {arrival.subject: arrival.position for arrival in arrivals}
    moves = [(subject, before[subject], position) for subject, position in last.items()]
    positions.move(session, moves)
    return arrivals


def _groups(arrivals: Sequence[Arrival], handlers: Mapping[str, Handler]) -> list[_Group]:
    """Events of one type together as far as the order of each key allows.

    An event joins the last group of its type unless a later group holds an event of its key.
    """
    groups: list[_Group] = []
    of_type: dict[str, int] = {}
    of_key: dict[tuple[str, str], int] = {}
    for arrival in arrivals:
        key = arrival.key
        index = of_type.get(arrival.type, -1)
        if index < of_key.get(key, 0):
            index = len(groups)
            groups.append(_Group(handlers[arrival.type], []))
            of_type[arrival.type] = index
        groups[index].arrivals.append(arrival)
        of_key[key] = index
    return groups


def _call(tx: Transaction, group: _Group) -> None:
    if group.handler.kind == "batch":
        _call_batch(tx, group)
        return
    for arrival in group.arrivals:
        assert arrival.context is not None
        try:
            call_one(group.handler, tx, arrival.message, arrival.context, arrival.published)
        except BaseException as error:  # whatever it is, it must not end the reading of lanes
            raise HandlerFailed([arrival]) from error


def _call_batch(tx: Transaction, group: _Group) -> None:
    arrivals = group.arrivals
    try:
        call_batch(
            group.handler,
            tx,
            [a.message for a in arrivals],
            [a.context for a in arrivals],
            [a.published for a in arrivals],
        )
    except BaseException as error:
        raise HandlerFailed(arrivals) from error
