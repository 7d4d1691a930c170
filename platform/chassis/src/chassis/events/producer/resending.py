"""A consumer that misses events asks their producer, which sends them again from its outbox.

Over plain requests, beside the stream: that stays a prefix of the rank order. Any replica of the
producer may answer; it ends its answer by a message that says how many it sent, or why it cannot.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from chassis.database import Database
from chassis.database.tables import outbox, relay
from chassis.events.jetstream.broker import Broker
from chassis.events.wire import transport

__all__ = ["MOST_ANSWERS", "Gone", "Missing", "Resender", "ask"]

_log = structlog.get_logger(__name__)
_MOST_EVENTS = 500
MOST_ANSWERS = _MOST_EVENTS + 1
"""Messages that answer one request: events, and the end."""
_MOST_BYTES = 8 * 1024 * 1024
_ANSWER_SECONDS = 5.0
_RANKS_AT_ONCE = 50_000
_KNOWN_SECONDS = 300.0
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
            transport.resend_subject(producer), json.dumps(asdict(missing)).encode(), reply=inbox
        )
        while True:
            message = await subscription.next_msg(timeout=_ANSWER_SECONDS)
            headers = message.headers or {}
            if _END in headers:
                break
            if headers.get("Status") == "503" and transport.NUMBER not in headers:
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
        self._database = database
        self._broker = broker
        # What took long to find, or not to find, and until when (monotonic seconds) that is kept.
        self._known: dict[Missing, tuple[list[int], float]] = {}
        self._told_unanswered = False
        subject = transport.resend_subject(service)
        broker.subscribe(subject, self._answer, queue=subject)

    async def _answer(self, message: Msg) -> None:
        """One request after another, as the client calls it.

        Who may answer a request may publish to the subject that the request names: that of a
        stream, or of the broker's own API, would be a way past the permissions of who asks.
        """
        if not message.reply.startswith(f"{transport.INBOX}."):
            self._tell_unanswered(message.reply)
            return
        try:
            missing = Missing.of(message.data)
            events, why_not = await self._find(missing)
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
                "events were sent again to a consumer that missed them",
                subject=missing.subject,
                first=missing.first,
                events=len(events),
            )
        await self._end(message.reply, why_not)

    def _tell_unanswered(self, reply: str) -> None:
        """Only the first of all such requests: whoever asks may ask at any rate."""
        if not self._told_unanswered:
            self._told_unanswered = True
            _log.warning(
                f"a request to send events again names no inbox below {transport.INBOX} for the answer; "
                "it gets none, nor do later ones",
                reply=reply,
            )

    async def _end(self, reply: str, why_not: str) -> None:
        await self._broker.client.publish(reply, why_not.encode(), headers={_END: "1"})

    async def _find(self, missing: Missing) -> tuple[list[tuple[dict[str, str], bytes]], str]:
        """The events as the relay would send them, from the first missing one on; or why not."""
        counters = await self._database.read(lambda tx: _counters(tx.session))
        if counters is None or counters.generation != missing.generation:
            return [], "the database of the producer is not the one that numbered them"
        ranks = await self._ranks(missing)
        rows = await self._database.read(lambda tx: _rows(tx.session, ranks)) if ranks else []
        if not rows or rows[0].number != missing.first:
            return [], f"number {missing.first} is no longer in the outbox of the producer"
        return [
            (
                transport.relayed(
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

    async def _ranks(self, missing: Missing) -> list[int]:
        """The ranks of the missing events, without a hole from the first on, bounded.

        Numbers grow with ranks: they are looked for from the event above them downwards, in parts.
        """
        now = time.monotonic()
        self._known = {m: known for m, known in self._known.items() if known[1] > now}
        if missing in self._known:
            return self._known[missing][0]
        lowest = await self._database.read(lambda tx: _lowest_rank(tx.session))
        found: list[Any] = []
        below = missing.below_rank
        while below > lowest and not (found and found[-1].number <= missing.first):
            part = _found(missing, below - _RANKS_AT_ONCE, below)
            found += await self._database.read(lambda tx, part=part: tx.session.execute(part).all())  # type: ignore[misc]
            below -= _RANKS_AT_ONCE
        ranks = _without_hole(missing, found[::-1])
        if below < missing.below_rank - _RANKS_AT_ONCE:
            self._known[missing] = ranks, now + _KNOWN_SECONDS
        return ranks


def _counters(session: Session) -> Any:
    return session.execute(select(relay.c.generation, relay.c.lineage)).first()


def _lowest_rank(session: Session) -> int:
    return session.execute(select(func.min(outbox.c.rank))).scalar() or 0


def _found(missing: Missing, from_rank: int, below_rank: int) -> Select[tuple[int, int, int]]:
    """Events of the subject up to the last missing one, the latest first."""
    size = func.length(outbox.c.headers) + func.length(outbox.c.data)
    last = min(missing.last, missing.first + _MOST_EVENTS - 1)
    return (
        select(outbox.c.number, outbox.c.rank, size.label("size"))
        .where(
            outbox.c.rank >= from_rank,
            outbox.c.rank < below_rank,
            outbox.c.subject == missing.subject,
            outbox.c.number <= last,
        )
        .order_by(outbox.c.rank.desc())
        .limit(last - missing.first + 2)
    )


def _without_hole(missing: Missing, found: Sequence[Any]) -> list[int]:
    ranks: list[int] = []
    total = 0
    for row in found:
        if row.number < missing.first:
            continue
        total += row.size
        if row.number != missing.first + len(ranks) or (ranks and total > _MOST_BYTES):
            break
        ranks.append(row.rank)
    return ranks


def _rows(session: Session, ranks: Sequence[int]) -> Sequence[Any]:
    return session.execute(
        select(outbox.c.headers, outbox.c.data, outbox.c.number, outbox.c.rank)
        .where(outbox.c.rank.in_(ranks))
        .order_by(outbox.c.rank)
    ).all()
