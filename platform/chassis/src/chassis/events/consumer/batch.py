"""Processing a batch of events in one transaction: positions first, then handlers, then outbox.

There are no savepoints. If a handler fails, everything is rolled back: the events before the
failing one run again together, the failing one by itself, and the rest together. An event that
fails by itself becomes a task.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy.orm import Session

from chassis.database import Transaction
from chassis.errors import is_unavailable
from chassis.events.consumer import position_rows
from chassis.events.consumer.arrival import Arrival, decode_arrival
from chassis.events.consumer.position import Position
from chassis.events.handlers.binding import Handler
from chassis.events.handlers.call import call_batch, call_one
from chassis.events.handlers.failures import Reject, reason_of
from chassis.events.tasks import dead_letter_rows, storage
from chassis.events.tasks.tries import tries_columns

__all__ = [
    "HandlerFailed",
    "HandlerGroup",
    "MovePositions",
    "Outcome",
    "Processing",
    "group_by_handler",
    "move_positions",
    "process",
    "store_failed",
]


MovePositions = Callable[[Session, Sequence[Arrival], Mapping[str, Position]], Sequence[Arrival]]
"""Moves positions past these arrivals, and returns those that were not processed before."""


class HandlerFailed(Exception):
    """A handler raised; `arrivals` are the events it was called with."""

    def __init__(self, arrivals: Sequence[Arrival]) -> None:
        super().__init__(f"the handler of {arrivals[0].type} failed")
        self.arrivals = arrivals


@dataclass(slots=True)
class Outcome:
    """The results of a batch's events; `seen` counts those that were processed before.

    The tasks belong to `canary`.
    """

    handled: list[Arrival] = field(default_factory=list)
    tasks: list[Arrival] = field(default_factory=list)
    dead: list[Arrival] = field(default_factory=list)
    seen: int = 0
    canary: str = ""


@dataclass(slots=True)
class HandlerGroup:
    """Consecutive calls of one handler."""

    handler: Handler
    arrivals: list[Arrival]


def move_positions(
    session: Session, arrivals: Sequence[Arrival], positions: Mapping[str, Position]
) -> Sequence[Arrival]:
    """Move the positions of numbered subjects past these events, and return all of them as new.

    Raises:
        PositionMoved: another member has processed some of them.
    """
    last = {arrival.subject: arrival.position for arrival in arrivals}
    moves = [(subject, positions[subject], position) for subject, position in last.items()]
    position_rows.move(session, moves)
    return arrivals


@dataclass(frozen=True, slots=True)
class Processing:
    """How a member processes the events of a stream.

    Dead letters name `version`, that of the member. Tasks belong to `canary`, this version if it
    has a weight. `move` moves the positions, by default those of numbered events.
    """

    handlers: Mapping[str, Handler]
    version: str = ""
    canary: str = ""
    move: MovePositions = move_positions


def process(
    tx: Transaction,
    arrivals: Sequence[Arrival],
    positions: Mapping[str, Position],
    processing: Processing,
) -> Outcome:
    """Let a batch take effect in this transaction. `positions` are those before the batch.

    Raises:
        PositionMoved: another member has processed some of these events.
        HandlerFailed: a handler raised.
    """
    handlers, canary = processing.handlers, processing.canary
    for arrival in arrivals:
        decode_arrival(arrival, handlers[arrival.type])
    new = processing.move(tx.session, arrivals, positions)
    readable = [a for a in new if not a.reason]
    dead = [a for a in new if a.reason]
    outcome = Outcome(dead=dead, seen=len(arrivals) - len(new), canary=canary)
    blocked = storage.blocked_keys(tx.session, {a.key[1] for a in readable})
    if blocked:
        blocked = storage.lock_keys(tx.session, blocked)
    blocked_before = frozenset(blocked)
    runnable: list[Arrival] = []
    for arrival in readable:
        is_blocked = blocked and arrival.key in blocked
        if arrival.suspect or is_blocked or handlers[arrival.type].kind == "async":
            blocked.add(arrival.key)
            outcome.tasks.append(arrival)
        else:
            runnable.append(arrival)
    for group in group_by_handler(runnable, handlers):
        _call_handler(tx, group)
        outcome.handled += group.arrivals
    rows = [{**a.to_row(), "alone": a.suspect, "canary": canary} for a in outcome.tasks]
    storage.store_in_order(tx.session, rows, blocked_before)
    dead_letters = [{**a.to_row(), "reason": a.reason, "version": processing.version} for a in dead]
    dead_letter_rows.store(tx.session, dead_letters)
    return outcome


def store_failed(
    tx: Transaction,
    arrival: Arrival,
    positions: Mapping[str, Position],
    processing: Processing,
    error: BaseException,
    due_at: float,
) -> Outcome:
    """Store an event that failed by itself as a task or, if rejected, as a dead letter.

    Its lane continues. The task is due at `due_at` (epoch seconds).

    Raises:
        PositionMoved: another member has processed the event.
    """
    if not processing.move(tx.session, [arrival], positions):
        return Outcome(seen=1)
    reason = reason_of(error)
    tries = 0 if is_unavailable(error) else 1
    if isinstance(error, Reject):
        arrival.reason = reason
        told = {"reason": reason, "tries": tries, "version": processing.version}
        dead_letter = {**arrival.to_row(), **told}
        dead_letter_rows.store(tx.session, [dead_letter])
        return Outcome(dead=[arrival])
    task = {
        **arrival.to_row(),
        "reason": reason,
        "due_at": due_at,
        "canary": processing.canary,
        **tries_columns({processing.version: tries}),
    }
    storage.store(tx.session, [task])
    return Outcome(tasks=[arrival], canary=processing.canary)


def group_by_handler(
    arrivals: Sequence[Arrival], handlers: Mapping[str, Handler]
) -> list[HandlerGroup]:
    """Group events of one type as far as the order within each key allows.

    An event joins the last group of its type unless a later group holds an event of its key.
    """
    types = {arrival.type for arrival in arrivals}
    if len(types) == 1:
        return [HandlerGroup(handlers[types.pop()], list(arrivals))]
    groups: list[HandlerGroup] = []
    group_of_type: dict[str, int] = {}
    group_of_key: dict[tuple[str, str], int] = {}
    for arrival in arrivals:
        key = arrival.key
        index = group_of_type.get(arrival.type, -1)
        if index < group_of_key.get(key, 0):
            index = len(groups)
            groups.append(HandlerGroup(handlers[arrival.type], []))
            group_of_type[arrival.type] = index
        groups[index].arrivals.append(arrival)
        group_of_key[key] = index
    return groups


def _call_handler(tx: Transaction, group: HandlerGroup) -> None:
    """Call a handler with the events of a group, one by one or as a batch."""
    if group.handler.kind == "batch":
        _call_batch_handler(tx, group)
        return
    for arrival in group.arrivals:
        assert arrival.context is not None
        try:
            call_one(group.handler, tx, arrival.message, arrival.context, arrival.trace)
        # Not only Exception: whatever a handler raises must not end the reading of lanes.
        except BaseException as error:
            raise HandlerFailed([arrival]) from error


def _call_batch_handler(tx: Transaction, group: HandlerGroup) -> None:
    """Call an `on_batch` handler once with all events of its group."""
    arrivals = group.arrivals
    try:
        call_batch(
            group.handler,
            tx,
            [a.message for a in arrivals],
            [a.context for a in arrivals],
            [a.trace for a in arrivals],
        )
    except BaseException as error:
        raise HandlerFailed(arrivals) from error
