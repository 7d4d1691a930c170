"""Sends events from the outbox again, to a consumer that misses them."""

import time
from collections.abc import Sequence
from typing import Any

import structlog
from nats.aio.msg import Msg
from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from chassis.database import Database
from chassis.database.tables import outbox, relay
from chassis.events.jetstream.broker import Broker
from chassis.events.jetstream.header_block import parse_header_block
from chassis.events.wire import control_subjects, event_headers
from chassis.events.wire.resending import END, MOST_EVENTS, Missing

__all__ = ["MAX_BYTES", "RANKS_AT_ONCE", "Resender", "select_missing"]

_log = structlog.get_logger(__name__)
MAX_BYTES = 8 * 1024 * 1024
"""Maximum size of the events in one answer."""
RANKS_AT_ONCE = 50_000
"""Number of ranks that one query for missing events searches."""
_CACHE_SECONDS = 300.0


class Resender:
    """Answers the requests to one producer, from its outbox."""

    def __init__(self, service: str, database: Database, broker: Broker) -> None:
        self._database = database
        self._broker = broker
        # Ranks that took long to find, and until when (monotonic seconds) they are kept.
        self._cached_ranks: dict[Missing, tuple[list[int], float]] = {}
        self._logged_unanswered = False
        subject = control_subjects.resend_subject(service)
        broker.subscribe(subject, self._answer, queue=subject)

    async def _answer(self, message: Msg) -> None:
        """Answer a request. The client handles one request after another.

        A request is answered only if its reply subject is an inbox. The service may publish to any
        reply subject, so a request that names a subject of a stream, or of the broker's API, would
        get around the permissions of its sender.
        """
        if not message.reply.startswith(f"{control_subjects.INBOX}."):
            self._log_unanswered(message.reply)
            return
        try:
            missing = Missing.of(message.data)
            events, why_not = await self._find_events(missing)
        except ValueError as error:
            await self._send_end(message.reply, str(error))
            return
        except Exception as error:
            _log.warning(
                "sending missing events failed; the consumer asks again", error=repr(error)
            )
            return
        for headers, data in events:
            await self._broker.client.publish(message.reply, data, headers=headers)
        if events:
            _log.info(
                "missing events sent again to a consumer",
                subject=missing.subject,
                first=missing.first,
                events=len(events),
            )
        await self._send_end(message.reply, why_not)

    def _log_unanswered(self, reply: str) -> None:
        """Log only the first such request, because its sender decides how many there are."""
        if not self._logged_unanswered:
            self._logged_unanswered = True
            _log.warning(
                "request for missing events names an invalid inbox; ignoring such requests",
                inbox_prefix=control_subjects.INBOX,
                reply=reply,
            )

    async def _send_end(self, reply: str, why_not: str) -> None:
        """Send the end of an answer, with the reason if it is not complete."""
        await self._broker.client.publish(reply, why_not.encode(), headers={END: "1"})

    async def _find_events(
        self, missing: Missing
    ) -> tuple[list[tuple[dict[str, str], bytes]], str]:
        """Return the events as the relay would send them, or the reason why there are none."""
        counters = await self._database.read(lambda tx: _read_counters(tx.session))
        if counters is None or counters.generation != missing.generation:
            return [], "the database of the producer is not the one that numbered them"
        ranks = await self._find_ranks(missing)
        rows = await self._database.read(lambda tx: _read_rows(tx.session, ranks)) if ranks else []
        if not rows or rows[0].number != missing.first:
            return [], f"number {missing.first} is no longer in the outbox of the producer"
        added = event_headers.relay_lines(counters.generation, counters.lineage)
        lines = [
            event_headers.to_lines(row.headers) + added % (row.number, row.rank) for row in rows
        ]
        return [(parse_header_block(n), row.data) for n, row in zip(lines, rows, strict=True)], ""

    async def _find_ranks(self, missing: Missing) -> list[int]:
        """Return the ranks of missing events, from the first on and without a gap.

        Numbers grow with ranks, so the search goes downwards from the event above them, by
        `RANKS_AT_ONCE` ranks in each query.
        """
        now = time.monotonic()
        self._cached_ranks = {m: kept for m, kept in self._cached_ranks.items() if kept[1] > now}
        if missing in self._cached_ranks:
            return self._cached_ranks[missing][0]
        lowest = await self._database.read(lambda tx: _read_lowest_rank(tx.session))
        found: list[Any] = []
        below = missing.below_rank
        while below > lowest and not (found and found[-1].number <= missing.first):
            part = select_missing(missing, below - RANKS_AT_ONCE, below)
            found += await self._database.read(lambda tx, part=part: tx.session.execute(part).all())  # type: ignore[misc]
            below -= RANKS_AT_ONCE
        ranks = _ranks_before_gap(missing, found[::-1])
        if below < missing.below_rank - RANKS_AT_ONCE:
            self._cached_ranks[missing] = ranks, now + _CACHE_SECONDS
        return ranks


def _read_counters(session: Session) -> Any:
    return session.execute(select(relay.c.generation, relay.c.lineage)).first()


def _read_lowest_rank(session: Session) -> int:
    return session.execute(select(func.min(outbox.c.rank))).scalar() or 0


def select_missing(
    missing: Missing, from_rank: int, below_rank: int
) -> Select[tuple[int, int, int]]:
    """Select the subject's events up to the last missing one, the latest first."""
    size = func.length(outbox.c.headers) + func.length(outbox.c.data)
    last = min(missing.last, missing.first + MOST_EVENTS - 1)
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


def _ranks_before_gap(missing: Missing, found: Sequence[Any]) -> list[int]:
    """Return the ranks of found events up to the first gap, of together up to `MAX_BYTES`."""
    ranks: list[int] = []
    total = 0
    for row in found:
        if row.number < missing.first:
            continue
        total += row.size
        if row.number != missing.first + len(ranks) or (ranks and total > MAX_BYTES):
            break
        ranks.append(row.rank)
    return ranks


def _read_rows(session: Session, ranks: Sequence[int]) -> Sequence[Any]:
    return session.execute(
        select(outbox.c.headers, outbox.c.data, outbox.c.number, outbox.c.rank)
        .where(outbox.c.rank.in_(ranks))
        .order_by(outbox.c.rank)
    ).all()
