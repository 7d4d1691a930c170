"""Blocking work in a thread that ends before its caller does."""

import asyncio
from collections.abc import Callable
from typing import Any

__all__ = ["run_to_its_end"]


async def run_to_its_end(function: Callable[..., None], *arguments: Any) -> None:
    """Call a function in a thread.

    A thread cannot be cancelled, so a cancelled caller waits for the end of the call.
    """
    call = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        raise
