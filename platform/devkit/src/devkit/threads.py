"""Work in a thread that nobody leaves behind."""

import asyncio
from collections.abc import Callable
from typing import Any

__all__ = ["run_to_its_end"]


async def run_to_its_end(function: Callable[..., None], *arguments: Any) -> None:
    """Call it in a thread. A thread can't be cancelled: who is cancelled waits for its end."""
    call = asyncio.ensure_future(asyncio.to_thread(function, *arguments))
    try:
        await asyncio.shield(call)
    except asyncio.CancelledError:
        await asyncio.wait([call])
        raise
