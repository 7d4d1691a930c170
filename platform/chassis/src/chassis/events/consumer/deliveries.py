"""Messages that a consumer has delivered and that are not processed yet."""

import asyncio
from collections import deque

from nats.aio.msg import Msg

__all__ = ["Deliveries"]


class Deliveries:
    """A queue of messages that knows its size in `bytes`. `changed` is set by each new message."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Msg, int]] = deque()
        self.bytes = 0
        self.changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, message: Msg) -> None:
        """Append a message."""
        size = _size(message)
        self._queue.append((message, size))
        self.bytes += size
        self.changed.set()

    def next_batch(self, max_messages: int, max_bytes: int) -> list[Msg]:
        """Remove and return the oldest messages, the last of which may exceed `max_bytes`."""
        batch: list[Msg] = []
        left = max_bytes
        while self._queue and len(batch) < max_messages and left > 0:
            message, size = self._queue.popleft()
            batch.append(message)
            left -= size
            self.bytes -= size
        return batch


def _size(message: Msg) -> int:
    """Return the bytes of a message, headers included."""
    headers = message.headers or {}
    return len(message.data) + sum(map(len, headers)) + sum(map(len, headers.values()))
