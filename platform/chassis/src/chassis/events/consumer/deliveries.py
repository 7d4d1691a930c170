"""Messages that a consumer has delivered and that are not processed yet."""

import asyncio
from collections import deque

from chassis.events.jetstream.delivery import Delivery

__all__ = ["Deliveries"]


class Deliveries:
    """A queue of messages that knows its size in `bytes`. `changed` is set by each new message."""

    def __init__(self) -> None:
        self._queue: deque[Delivery] = deque()
        self.bytes = 0
        self.changed = asyncio.Event()

    def __len__(self) -> int:
        return len(self._queue)

    def add(self, message: Delivery) -> None:
        """Append a message."""
        self._queue.append(message)
        self.bytes += message.size
        self.changed.set()

    def next_batch(self, max_messages: int, max_bytes: int) -> list[Delivery]:
        """Remove and return the oldest messages, the last of which may exceed `max_bytes`."""
        batch: list[Delivery] = []
        left = max_bytes
        while self._queue and len(batch) < max_messages and left > 0:
            message = self._queue.popleft()
            batch.append(message)
            left -= message.size
        self.bytes -= max_bytes - left
        return batch
