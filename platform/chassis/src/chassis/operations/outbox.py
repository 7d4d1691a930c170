"""The outbox for an operator: events that wait to be sent, and where the stream ends."""

from dataclasses import dataclass

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from chassis.database.tables import outbox, relay
from chassis.events.producer import refused
from chassis.events.producer.outbox import oldest_unsent, unsent_count

__all__ = ["OutboxStatus", "outbox_status"]


@dataclass(frozen=True, slots=True)
class OutboxStatus:
    """The contents of a service's outbox.

    `unsent` events are not acknowledged by the stream; the oldest of them was published at
    `oldest_unsent` (epoch seconds). `refused` events were refused by the stream for their size.
    `kept` is the number of all rows, with those of sent events that the stream may lose. The event
    of `sent_rank` is the last one in the stream, at `sent_sequence`. `generation` is that of the
    counters, empty before the first event.
    """

    unsent: int
    oldest_unsent: float | None
    refused: int
    kept: int
    rank: int
    sent_rank: int
    sent_sequence: int
    generation: str


def outbox_status(session: Session) -> OutboxStatus:
    """Count the rows of the outbox."""
    counters = session.execute(select(relay).where(relay.c.id == 1)).first()
    return OutboxStatus(
        unsent=unsent_count(session),
        oldest_unsent=oldest_unsent(session),
        refused=refused.count(session),
        kept=session.execute(select(func.count()).select_from(outbox)).scalar_one(),
        rank=counters.rank if counters else 0,
        sent_rank=counters.sent_rank if counters else 0,
        sent_sequence=counters.sent_sequence if counters else 0,
        generation=counters.generation if counters else "",
    )
