"""Members that believe what they should not, or that are there and do nothing."""

import asyncio
from collections.abc import AsyncIterator, Collection, Sequence, Set
from contextlib import asynccontextmanager
from itertools import count

import pytest
from bookshop import Node
from sqlalchemy.orm import Session

from chassis.events import lane_marks, positions
from chassis.events.broker import Broker
from chassis.events.lane_marks import Marked
from chassis.events.members import Members
from chassis.events.positions import Position, PositionMoved
from chassis.events.waiting import end

__all__ = ["bystander", "count_refusals", "deaf", "ignore_marks"]

_numbers = count()


def deaf(node: Node) -> None:
    """It hears no other member, and is not heard. Before it is started."""
    members = node.path.members
    assert members
    members._service = f"apart-{next(_numbers)}-{members.member}"


def ignore_marks(monkeypatch: pytest.MonkeyPatch) -> None:
    """No member waits for another to let a lane go, nor suspects it of having died."""

    def mark(
        session: Session,
        member: str,
        stream: str,
        lanes: Collection[int],
        living: Set[str],
        patient: Collection[int],
    ) -> Marked:
        return Marked(frozenset(), frozenset())

    monkeypatch.setattr(lane_marks, "mark", mark)


def count_refusals(monkeypatch: pytest.MonkeyPatch) -> list[PositionMoved]:
    """The commits that are refused from now on."""
    refusals: list[PositionMoved] = []
    original = positions.move

    def move(session: Session, moves: Sequence[tuple[str, Position, Position]]) -> None:
        try:
            original(session, moves)
        except PositionMoved as refusal:
            refusals.append(refusal)
            raise

    monkeypatch.setattr(positions, "move", move)
    return refusals


@asynccontextmanager
async def bystander(nats_url: str, member: str, *, ttl_seconds: int = 60) -> AsyncIterator[Members]:
    """A member of the accountants that has its share of the lanes and reads none."""
    broker = Broker(nats_url, "books")
    members = Members(broker, service="books", member=member, version="1", ttl_seconds=ttl_seconds)
    tasks = [asyncio.create_task(broker.run()), asyncio.create_task(members.run())]
    await members.joined.wait()
    try:
        yield members
    finally:
        await members.leave()
        await end(tasks)
        await broker.close()
