"""A consumer that misses events asks their producer, which sends them again from its outbox.

Over plain requests, beside the stream: that stays a prefix of the rank order. Any replica of the
producer may answer; it ends its answer by a message that says how many it sent, or why it cannot.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from chassis.database import Database, ReadTransaction
from chassis.database.tables import outbox, relay
from chassis.events import wire
from chassis.events.broker import Broker

__all__ = ["Gone", "Missing", "Resender", "ask"]

_log = structlog.get_logger(__name__)
_MOST_EVENTS = 500
_MOST_BYTES = 8 * 1024 * 1024
_ANSWER_SECONDS = 5.0
# The header of what ends an answer. Its data says why nothing can be sent again, if so.
_END = "slipway-resend-end"


@dataclass(frozen=True, slots=True)
class Missing:
    """The numbers of a subject that are missing, and what is known of the event above them."""

    subject: str
    first: int
    last: int
    generation: str
    below_rank: int

    @classmethod
    def of(cls, data: bytes) -> "Missing":
        """As it was asked for.

        Raises:
            ValueError: it is no such request.
        """
        try:
            given = cls(**json.loads(data))
            numbers = given.first, given.last, given.below_rank
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"no request to send again: {error}") from None
        if not all(isinstance(number, int) and 0 < number < 1 << 62 for number in numbers):
            raise ValueError("no request to send again: numbers are above 0")
        if not isinstance(given.subject, str) or not isinstance(given.generation, str):
            raise ValueError("no request to send again: subject and generation are texts")
        return given


class Gone(Exception):
    """The producer cannot send them again; the message says why."""


async def ask(
    client: Client, producer: str, missing: Missing
) -> list[tuple[Mapping[str, str], bytes]]:
    """Headers and data of the missing events, from the first on, as many as fit into one answer.

    Raises:
        Gone: the producer no longer has the first of them.
        LookupError: nobody answered.
    """
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    events: list[tuple[Mapping[str, str], bytes]] = []
    try:
        await client.publish(
            wire.resend_subject(producer), json.dumps(asdict(missing)).encode(), reply=inbox
        )
        while True:
            message = await subscription.next_msg(timeout=_ANSWER_SECONDS)
            headers = message.headers or {}
            if _END in headers:
                break
            if headers.get("Status") == "503" and wire.NUMBER not in headers:
                raise LookupError(f"no replica of {producer} is there to send them again")
            events.append((headers, message.data))
    except TimeoutError:
        raise LookupError(f"{producer} did not answer") from None
    finally:
        await subscription.unsubscribe()
    if message.data:
        raise Gone(message.data.decode(errors="replace"))
    return events


class Resender:
    """Answers for a producer, from its outbox."""

    def __init__(self, service: str, database: Database, broker: Broker) -> None:
        self._service = service
        self._database = database
        self._broker = broker
        subject = wire.resend_subject(service)
        broker.subscribe(subject, self._answer, queue=subject)

    async def _answer(self, message: Msg) -> None:
        """One request after another, as the client calls it."""
        if not message.reply:
            return
        try:
            missing = Missing.of(message.data)
            events, why_not = await self._database.read(lambda tx: _held(tx, missing))
        except ValueError as error:
            await self._end(message.reply, str(error))
            return
        except Exception as error:  # whoever asks will ask again
            _log.warning("events were not sent again", error=repr(error))
            return
        for headers, data in events:
            await self._broker.client.publish(message.reply, data, headers=headers)
        if events:
            _log.info(
                "events were sent again to who missed them",
                subject=missing.subject,
                first=missing.first,
                events=len(events),
            )
        await self._end(message.reply, why_not)

    async def _end(self, reply: str, why_not: str) -> None:
        await self._broker.client.publish(reply, why_not.encode(), headers={_END: "1"})


def _held(tx: ReadTransaction, missing: Missing) -> tuple[list[tuple[dict[str, str], bytes]], str]:
    """The events, as the relay would send them, from the first missing one on; or why not."""
    counters = tx.session.execute(select(relay.c.generation, relay.c.lineage)).first()
    if counters is None or counters.generation != missing.generation:
        return [], "the database of the producer is not the one that numbered them"
    ranks = _ranks(tx.session, missing)
    if not ranks:
        return [], f"number {missing.first} is no longer in the outbox of the producer"
    rows = tx.session.execute(
        select(outbox.c.headers, outbox.c.data, outbox.c.number, outbox.c.rank)
        .where(outbox.c.rank.in_(ranks))
        .order_by(outbox.c.rank)
    )
    return [
        (
            wire.relayed(
                row.headers,
                number=row.number,
                rank=row.rank,
                generation=counters.generation,
                lineage=counters.lineage,
            ),
            row.data,
        )
        for row in rows
    ], ""


def _ranks(session: Session, missing: Missing) -> list[int]:
    """The ranks of the missing events, without a hole from the first on, bounded.

    Numbers grow with ranks: they are looked for from the event above them downwards.
    """
    last = min(missing.last, missing.first + _MOST_EVENTS - 1)
    found = session.execute(_found(missing, last)).all()
    ranks: list[int] = []
    total = 0
    for number, row in enumerate(reversed(found), start=missing.first):
        total += row.size
        if row.number != number or (ranks and total > _MOST_BYTES):
            break
        ranks.append(row.rank)
    return ranks


def _found(missing: Missing, last: int) -> Select[tuple[int | None, int | None, int]]:
    size = func.length(outbox.c.headers) + func.length(outbox.c.data)
    return (
        select(outbox.c.number, outbox.c.rank, size.label("size"))
        .where(
            outbox.c.rank < missing.below_rank,
            outbox.c.subject == missing.subject,
            outbox.c.number.between(missing.first, last),
        )
        .order_by(outbox.c.rank.desc())
        .limit(last - missing.first + 1)
    )
