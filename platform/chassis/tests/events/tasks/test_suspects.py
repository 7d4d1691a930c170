"""Up to a batch of events of a member that died run one by one."""

import signal
from collections.abc import Callable, Iterable, Sequence

import pytest
from bookshop import Node, TestSettings, accountant, eventually
from reading import has_taken, taken_ids
from relaying import Shop, in_order
from replicas import Replicas

from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.position import Position
from chassis.events.consumer.suspicions import Suspicions
from chassis.events.membership import lane_marks
from chassis.events.wire.lanes import LANES
from localservers import NatsServer


async def test_up_to_a_batch_of_all_lanes_of_a_dead_member_is_suspect(
    nats: NatsServer,
    new_database: Callable[[str], str],
    replicas: Replicas,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # All events must be in the stream before the dead member's lanes are taken over.
    ttl = 3
    url, settings = new_database("books"), TestSettings(batch_max_events=20, member_ttl_seconds=ttl)
    suspects: set[tuple[str, int]] = set()
    mark = Suspicions.mark

    def marked(suspicions: Suspicions, arrivals: Sequence[Arrival]) -> None:
        mark(suspicions, arrivals)
        suspects.update((a.subject, a.position.number) for a in arrivals if a.suspect)

    monkeypatch.setattr(Suspicions, "mark", marked)
    async with Shop(new_database("shop")) as shop:
        shop.start_relay(nats.url)
        await shop.sell(range(1))
        async with Node("books", url, nats.url, router=accountant(), settings=settings) as stays:
            await reads(stays, LANES)
            dies = replicas.start(url, nats.url, "dies", settings={"member_ttl_seconds": ttl})
            await reads(stays, LANES // 2)
            await is_marked(stays, LANES)
            dies.send(signal.SIGKILL)
            await dies.is_gone()
            await shop.sell(range(1, 100))
            await has_taken(stays, 100)
            assert in_order(await taken_ids(stays), shop.published)
    assert len(suspects) == 20


def test_each_dead_member_has_a_batch_of_suspects() -> None:
    suspicions = Suspicions(3)
    suspicions.add({1: "one", 2: "one", 3: "other"})
    suspicions.end_at(100)
    some = arrivals([1, 2, 1, 2, 1, 3, 3, 4])
    suspicions.mark(some)
    assert suspects(some) == [1, 2, 3, 6, 7]


def test_a_handled_event_counts_and_a_refused_one_is_suspect_again() -> None:
    suspicions = Suspicions(3)
    suspicions.add({1: "one", 2: "one"})
    suspicions.end_at(100)
    for _ in range(2):
        first = arrivals([1, 2])
        suspicions.mark(first)
        assert suspects(first) == [1, 2]
    take(suspicions, first)
    for _ in range(2):
        second = arrivals([1, 2, 1], first=3)
        suspicions.mark(second)
        assert suspects(second) == [3]
    take(suspicions, second)
    third = arrivals([1, 2], first=6)
    suspicions.mark(third)
    assert suspects(third) == []


def test_events_stored_after_the_death_are_not_suspect() -> None:
    suspicions = Suspicions(3)
    suspicions.add({1: "one", 2: "one"})
    suspicions.end_at(2)
    some = arrivals([1, 1, 2, 1])
    suspicions.mark(some)
    assert suspects(some) == [1, 2]
    take(suspicions, some)
    later = arrivals([2], first=5)
    suspicions.mark(later)
    assert suspects(later) == []


def arrivals(lanes: Iterable[int], first: int = 1) -> list[Arrival]:
    """Return one event of each lane, in the order of the stream."""
    return [
        Arrival(f"a.{lane}", "a", lane, Position(sequence, "", sequence), {}, b"")
        for sequence, lane in enumerate(lanes, start=first)
    ]


def suspects(some: Iterable[Arrival]) -> list[int]:
    return [arrival.position.sequence for arrival in some if arrival.suspect]


def take(suspicions: Suspicions, some: Iterable[Arrival]) -> None:
    suspicions.note_processed(some)


async def is_marked(node: Node, lanes: int) -> None:
    """Wait until the members together run `lanes` lanes."""

    async def holds() -> bool:
        return len(await marks_of(node)) == lanes

    await eventually(holds)


async def marks_of(node: Node) -> dict[int, str]:
    living = node.path.members.living if node.path.members else set()
    return await node.database.read(lambda tx: lane_marks.held_by(tx.session, "bookstore", living))


async def reads(node: Node, lanes: int) -> None:
    async def holds() -> bool:
        return len(node.path.readers[0].lanes) == lanes

    await eventually(holds)
