"""Members with a wrong view of the membership, and members that read nothing."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping, Sequence, Set
from contextlib import asynccontextmanager
from itertools import count

import nats
import pytest
from bookshop import Node
from sqlalchemy.orm import Session

from chassis.events.consumer import position_rows
from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.committer import Committer
from chassis.events.consumer.held_lanes import HeldLanes
from chassis.events.consumer.position import Position, PositionMoved
from chassis.events.jetstream.broker import Broker
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.membership import lane_marks
from chassis.events.membership.lane_marks import Marked
from chassis.events.membership.members import Members
from chassis.events.waiting import end
from chassis.events.wire import control_subjects

__all__ = [
    "announce",
    "before_commits",
    "bystander",
    "contest",
    "count_refusals",
    "ignore_marks",
    "isolate",
]

_numbers = count()


def isolate(node: Node) -> None:
    """Let a node neither receive nor send announcements of members. Call before it starts."""
    members = node.path.members
    assert members
    apart = f"apart-{next(_numbers)}-{members.member}"
    members.announcer.subject = control_subjects.members_subject(apart, members.member)


def ignore_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no member wait for the lane of another, or suspect that the other one has died."""

    def mark(
        session: Session,
        member: str,
        stream: str,
        lanes: Collection[int],
        living: Set[str],
        patient: Collection[int],
    ) -> Marked:
        return Marked(frozenset(), {})

    async def are_marked(_lanes: HeldLanes) -> bool:
        return True

    monkeypatch.setattr(lane_marks, "mark", mark)
    monkeypatch.setattr(HeldLanes, "are_marked", are_marked)


def count_refusals(monkeypatch: pytest.MonkeyPatch) -> list[PositionMoved]:
    """Return a list to which each commit that is refused from now on is added."""
    refusals: list[PositionMoved] = []
    original = position_rows.move

    def move(session: Session, moves: Sequence[tuple[str, Position, Position]]) -> None:
        try:
            original(session, moves)
        except PositionMoved as refusal:
            refusals.append(refusal)
            raise

    monkeypatch.setattr(position_rows, "move", move)
    return refusals


def before_commits(node: Node, wait: Callable[[Collection[str]], Awaitable[None]]) -> None:
    """Call `wait` with the event ids of each batch of a node before its transaction begins."""
    (reader,) = node.path.readers
    committer = reader.committer

    async def commit_later(
        arrivals: list[Arrival], positions: Mapping[str, Position]
    ) -> AsyncIterator[list[Arrival]]:
        await wait([arrival.event_id for arrival in arrivals])
        async for committed in Committer.commit(committer, arrivals, positions):
            yield committed

    committer.commit = commit_later  # type: ignore[method-assign]


def contest(first: Node, second: Node, known: Collection[str], may_go_on: asyncio.Event) -> None:
    """Let two nodes have the same event in hand before the transaction of the first one begins.

    The event is one that is not `known`. The transaction of the second node begins when
    `may_go_on` is set.
    """
    known, in_hand = set(known), set[str]()
    first_has, both_have = asyncio.Event(), asyncio.Event()

    async def wait_for_second(events: Collection[str]) -> None:
        if new := set(events) - known:
            in_hand.update(new)
            first_has.set()
            await both_have.wait()

    async def wait_for_first(events: Collection[str]) -> None:
        if new := set(events) - known:
            await first_has.wait()
            if new & in_hand:
                both_have.set()
                await may_go_on.wait()

    before_commits(first, wait_for_second)
    before_commits(second, wait_for_first)


async def announce(nats_url: str, member: str, announcement: bytes) -> None:
    """Publish an announcement as a member of the service `books`."""
    async with await nats.connect(nats_url) as client:
        await client.publish(control_subjects.members_subject("books", member), announcement)
        await client.flush()


@asynccontextmanager
async def bystander(nats_url: str, member: str, *, ttl_seconds: int = 60) -> AsyncIterator[Members]:
    """Run a member of the service `books` that owns lanes and reads none."""
    broker = Broker(NatsOptions(nats_url), "books")
    members = Members(broker, service="books", member=member, version="1", ttl_seconds=ttl_seconds)
    tasks = [asyncio.create_task(broker.run()), asyncio.create_task(members.run())]
    await members.joined.wait()
    try:
        yield members
    finally:
        await members.leave()
        await end(tasks)
        await broker.close()
