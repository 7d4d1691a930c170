"""Handlers run beside each other, or one of them alone."""

import asyncio
from contextlib import suppress

import pytest

from chassis.events.tasks.gate import Gate


class Room:
    """Who is inside, and who was ever there with whom."""

    def __init__(self) -> None:
        self.gate = Gate()
        self.inside: list[str] = []
        self.entered: list[str] = []
        self.leave = asyncio.Event()

    async def share(self, name: str) -> None:
        async with self.gate.shared():
            await self._stay(name)

    async def have(self, name: str) -> None:
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

    async def go_on(self) -> None:
        for _ in range(10):
            await asyncio.sleep(0)

    async def empty(self) -> None:
        """Let those who are inside out, and then whoever comes."""
        self.leave.set()
        await self.go_on()


@pytest.fixture
def room() -> Room:
    return Room()


async def test_many_share_it(room: Room) -> None:
    async with asyncio.TaskGroup() as group:
        for name in "abc":
            group.create_task(room.share(name))
        await room.go_on()
        assert room.inside == ["a", "b", "c"]
        room.leave.set()


async def test_who_wants_it_alone_waits_until_all_have_left_and_lets_nobody_in(room: Room) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(room.share("a"))
        await room.go_on()
        group.create_task(room.have("alone"))
        await room.go_on()
        group.create_task(room.share("late"))
        await room.go_on()
        assert room.inside == ["a"]
        room.leave.set()
        await room.go_on()
    assert room.entered == ["a", "alone", "late"]


async def test_nobody_is_with_who_has_it_alone(room: Room) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(room.have("alone"))
        await room.go_on()
        group.create_task(room.share("a"))
        group.create_task(room.have("alone too"))
        await room.go_on()
        assert room.inside == ["alone"]
        room.leave.set()
    assert room.entered == ["alone", "a", "alone too"]


@pytest.mark.parametrize("form", ["share", "have"])
async def test_who_gives_up_waiting_leaves_no_trace(room: Room, form: str) -> None:
    async with asyncio.TaskGroup() as group:
        group.create_task(room.share("a"))
        await room.go_on()
        waiting = asyncio.create_task(room.have("given up"))
        await room.go_on()
        behind = asyncio.create_task(getattr(room, form)("behind"))
        await room.go_on()
        for task in (waiting, behind):
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
        group.create_task(room.share("b"))
        await room.go_on()
        assert room.inside == ["a", "b"]
        room.leave.set()


@pytest.mark.parametrize("form", ["share", "have"])
async def test_who_fails_inside_has_left(room: Room, form: str) -> None:
    inside = asyncio.create_task(getattr(room, form)("failing"))
    await room.go_on()
    inside.cancel()
    with suppress(asyncio.CancelledError):
        await inside
    room.leave.set()
    await asyncio.wait_for(room.have("alone"), 5)
