"""The evidence that a trial of a canary leaves in the journal and in the stream."""

import itertools
from collections import Counter
from collections.abc import Collection, Sequence
from typing import Any

from bookshop import journal
from relaying import Shop, StreamView
from sqlalchemy import select

from bookstore.v1 import BookReturned
from chassis.events.wire import event_headers
from chassis.events.wire.contracts import event_type

__all__ = ["effects", "published_by_handlers", "switches"]


async def effects(shop: Shop) -> Sequence[Any]:
    """Return the rows that handlers have written, in order; `member` is the version."""
    rows = select(journal).order_by(journal.c.id)
    return await shop.database.read(lambda tx: list(tx.session.execute(rows)))


def switches(rows: Sequence[Any], changes: Collection[int]) -> dict[str, int]:
    """Return how often the version of each key changed between two changes, at most.

    One change is right: when the lane of the key moves. `changes` are the newest rows at that time.
    """
    most = Counter[str]()
    for _, between in itertools.groupby(rows, lambda row: sum(row.id > c for c in changes)):
        versions: dict[str, list[str]] = {}
        for row in between:
            versions.setdefault(row.book_id, []).append(row.member)
        for key, found in versions.items():
            changed = sum(a != b for a, b in itertools.pairwise(found))
            most[key] = max(most[key], changed)
    return most


async def published_by_handlers(nats_url: str) -> list[str]:
    """Return the ids of the events that caused those of the handlers, in the stream's order.

    Raises:
        AssertionError: the numbers of a subject have a gap, or the ranks do not grow.
    """
    numbers, last_rank, causes = Counter[str](), 0, list[str]()
    for message in await StreamView(nats_url).messages():
        numbers[message.subject] += 1
        assert message.number == numbers[message.subject], message.subject
        rank = event_headers.integer(message.headers, event_headers.RANK)
        assert rank > last_rank
        last_rank = rank
        if message.subject.startswith(event_type(BookReturned)):
            causes.append(BookReturned.FromString(message.data).customer_id)
    return causes
