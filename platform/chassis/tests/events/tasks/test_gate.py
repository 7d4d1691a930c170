"""Handlers share the gate, or one of them holds it exclusively."""

import asyncio
from contextlib import suppress

import pytest

from chassis.events.tasks.gate import Gate

pytestmark = pytest.mark.unit


class Room:
    """A gate whose holders are recorded: those inside now, and all in the order of entering."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.inside: list[str] = []
        self.entered: list[str] = []
        self.leave = asyncio.Event()

    async def share(self, name: str) -> None:
        async with self.gate.shared():
            await self._stay(name)

    async def hold(self, name: str) -> None:
        async with self.gate.exclusive():
            assert self.inside == []
            await self._stay(name)
            assert self.inside == []

    async def _stay(self, name: str) -> None:
        self.entered.append(name)
        self.inside.append(name)
        try:
            await self.leave.wait()
        finally:
            self.inside.remove(name)

    async def let_tasks_run(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def empty(self) -> None:
        """Let all holders leave, and then those that wait."""
        self.leave.set()
        await self.let_tasks_run()


@pytest.fixture
def room() -> Room:
    return Room()


async def test_many_share_the_gate(room: Room) -> None:
    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(room.share(name))
        await room.let_tasks_run()
        assert room.inside == ["a", "b", "c"]
        room.leave.set()


async def test_an_exclusive_holder_waits_until_all_have_left_and_lets_none_in(
    room: Room,
) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(room.share("a"))
        await room.let_tasks_run()
        group.create_task(room.hold("exclusive"))
        await room.let_tasks_run()
        group.create_task(room.share("late"))
        await room.let_tasks_run()
        assert room.inside == ["a"]
        room.leave.set()
        await room.let_tasks_run()
    assert room.entered == ["a", "exclusive", "late"]


async def test_an_exclusive_holder_shares_with_no_other(room: Room) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(room.hold("exclusive"))
        await room.let_tasks_run()
        group.create_task(room.share("a"))
        group.create_task(room.hold("exclusive too"))
        await room.let_tasks_run()
        assert room.inside == ["exclusive"]
        room.leave.set()
    assert room.entered == ["exclusive", "a", "exclusive too"]


@pytest.mark.parametrize("form", ["share", "hold"])
async def test_a_cancelled_wait_changes_nothing(room: Room, form: str) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(room.share("a"))
        await room.let_tasks_run()
        waiting = asyncio.create_task(room.hold("given up"))
        await room.let_tasks_run()
        behind = asyncio.create_task(getattr(room, form)("behind"))
        await room.let_tasks_run()
        for task in (waiting, behind):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        group.create_task(room.share("b"))
        await room.let_tasks_run()
        assert room.inside == ["a", "b"]
        room.leave.set()


@pytest.mark.parametrize("form", ["share", "hold"])
async def test_a_holder_that_fails_has_left(room: Room, form: str) -> None:
    inside = asyncio.create_task(getattr(room, form)("failing"))
    await room.let_tasks_run()
    inside.cancel()
    with suppress(asyncio.CancelledError):
        await inside
    room.leave.set()
    await asyncio.wait_for(room.hold("exclusive"), 60)
