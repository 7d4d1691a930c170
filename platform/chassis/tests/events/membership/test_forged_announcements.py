"""Members ignore announcements that no member can have published."""

from collections.abc import Callable

import pytest
from bookshop import Node, accountant, eventually
from owners import announce, bystander
from structlog.testing import capture_logs

from chassis.events.membership.members import Members
from chassis.events.wire.lanes import LANES
from localservers import NatsServer


@pytest.mark.parametrize(
    "forged",
    [
        '{"version": "2", "ttl": 60, "weight": "much"}',
        '{"version": "2", "ttl": 60, "weight": []}',
        '{"version": "2", "ttl": 60, "weight": true}',
        '{"version": "2", "ttl": 60, "weight": -5}',
        '{"version": "2", "ttl": 60, "weight": NaN}',
        '{"version": "2", "ttl": 60, "weight": 1e3}',
        '{"version": "2", "ttl": Infinity}',
        f'{{"version": "2", "ttl": 1{"0" * 400}}}',
        "[" * 100_000,
    ],
    ids=range(9),
)
async def test_a_forged_announcement_takes_no_lanes_and_ends_nothing(
    nats: NatsServer, forged: str
) -> None:
    async with bystander(nats.url, "one") as one:
        await announce(nats.url, "forged", forged.encode())
        async with bystander(nats.url, "two") as two:
            await shares(one, LANES // 2)
            await shares(two, LANES // 2)
            assert one.living == two.living == {"one", "two"}
        await shares(one, LANES)


async def test_a_part_that_has_ended_by_an_error_ends_the_process(
    nats: NatsServer, new_database: Callable[[str], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    async def ends(members: Members) -> None:
        raise ZeroDivisionError("a mistake")

    monkeypatch.setattr(Members, "run", ends)
    with capture_logs() as logs:
        async with Node("books", new_database("books"), nats.url, router=accountant()) as books:

            async def is_told() -> bool:
                return [str(error) for error in books.fatal] == ["a mistake"]

            await eventually(is_told)
    assert "part of the event path failed; stopping the service" in [line["event"] for line in logs]


async def test_what_ends_in_order_ends_no_process(
    nats: NatsServer, new_database: Callable[[str], str]
) -> None:
    async with Node("books", new_database("books"), nats.url, router=accountant()) as books:
        await shares(books.path.members, LANES)
    assert books.fatal == []


async def shares(of: Members | None, lanes: int) -> None:
    """Wait until a member owns this number of lanes."""
    assert of

    async def holds() -> bool:
        return len(of.lanes) == lanes

    await eventually(holds)
