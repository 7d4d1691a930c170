"""Pulls from an ack-less consumer without waiting for a batch to fill.

What is held in memory is bounded: each request ends after so many bytes, and none is made while as
many wait to be taken.
"""

import asyncio
import contextlib
import json
import time
from collections import deque

from nats.aio.client import Client
from nats.aio.msg import Msg
from nats.aio.subscription import Subscription

from chassis.events.jetstream.client import api_subject
from chassis.events.jetstream.consumers import create_consumer, delete_consumer
from chassis.events.waiting import wait_at_most
from chassis.ids import uuid7

__all__ = ["Pull", "PullBroken"]

_HEARTBEAT_SECONDS = 2.0
_EXPIRES_SECONDS = 20.0
# Statuses of a pull request that ended and is to be made anew; any other breaks the consumer.
_ENDED = {"404", "408"}
_ENDED_409 = {"Message Size Exceeds MaxBytes", "Batch Completed"}
_HEARTBEAT = "100"


class PullBroken(Exception):
    """The consumer is gone, or silent: read the positions again and make a new one."""


class Pull:
    """An ephemeral consumer and the requests that keep it delivering.

    Two requests may be under way, so that the next is there before the last has run out.
    """

    def __init__(self, client: Client, stream: str, batch: int, max_bytes: int) -> None:
        self._client = client
        self._stream = stream
        self._batch = batch
        self._max_bytes = max_bytes
        self._name = f"r{uuid7().replace('-', '')}"
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._arrived: deque[tuple[Msg, int]] = deque()  # each with its bytes
        self._arrived_bytes = 0
        self._wanted = 0
        self._requests = 0
        self._heard = time.monotonic()
        self._changed = asyncio.Event()
        self._broken = ""

    async def open(self, subjects: list[str], start: int | None) -> None:
        """Create the consumer, `start` being a stream sequence or None for the oldest.

        Raises:
            StreamGone: there is no such stream.
        """
        await create_consumer(self._client, self._stream, self._name, subjects, start)
        self._subscription = await self._client.subscribe(
            f"{self._inbox}.*", cb=self._on_message, pending_msgs_limit=0, pending_bytes_limit=0
        )
        await self._request()

    async def close(self) -> None:
        """Forget the consumer here and, at once if it can be, on the server."""
        if self._subscription:
            # Without a connection the subscription is gone by itself.
            with contextlib.suppress(Exception):
                await self._subscription.unsubscribe()
        if self._client.is_connected:
            await delete_consumer(self._client, self._stream, self._name)

    async def next_batch(self, most: int, seconds: float) -> list[Msg]:
        """What has arrived, at least one message; nothing after `seconds` of silence.

        At most `most`, and not more than one that goes beyond the bytes of a request.

        Raises:
            PullBroken: the consumer is gone, or the server has not been heard of.
        """
        deadline = time.monotonic() + seconds
        while not self._arrived:
            if self._broken:
                raise PullBroken(self._broken)
            now = time.monotonic()
            if now - self._heard > 2.5 * _HEARTBEAT_SECONDS:
                raise PullBroken("no heartbeat")
            if now >= deadline:
                return []
            self._changed.clear()
            await wait_at_most(self._changed, min(deadline - now, _HEARTBEAT_SECONDS))
        batch: list[Msg] = []
        left = self._max_bytes
        while self._arrived and len(batch) < most and left > 0:
            message, size = self._arrived.popleft()
            batch.append(message)
            left -= size
            self._arrived_bytes -= size
        await self._top_up()
        return batch

    def interrupt(self, why: str) -> None:
        """Break the pull from outside: the connection is gone, or the lanes have changed."""
        self._broken = why
        self._changed.set()

    async def _top_up(self) -> None:
        enough = (
            self._wanted + len(self._arrived) > self._batch
            or self._arrived_bytes >= self._max_bytes
        )
        if not (self._broken or enough):
            await self._request()

    async def _request(self) -> None:
        self._requests += 1
        reply = f"{self._inbox}.{self._requests}"
        self._wanted += self._batch
        self._heard = time.monotonic()
        body = {
            "batch": self._batch,
            "max_bytes": self._max_bytes,
            "expires": int(_EXPIRES_SECONDS * 1e9),
            "idle_heartbeat": int(_HEARTBEAT_SECONDS * 1e9),
        }
        await self._client.publish(
            api_subject(self._client, f"CONSUMER.MSG.NEXT.{self._stream}.{self._name}"),
            json.dumps(body).encode(),
            reply=reply,
        )

    async def _on_message(self, message: Msg) -> None:
        self._heard = time.monotonic()
        headers = message.headers
        # What the server says by itself comes on a request's subject, a message on its own.
        said = message.subject.startswith(self._inbox)
        status = headers.get("Status") if headers and said else None
        if status is None or headers is None:
            self._deliver(message)
        elif status == _HEARTBEAT:
            return
        elif status in _ENDED or headers.get("Description") in _ENDED_409:
            await self._ended(status, int(headers.get("Nats-Pending-Messages", 0)))
        else:
            self.interrupt(f"{status} {headers.get('Description', '')}")

    async def _ended(self, status: str, undelivered: int) -> None:
        if status not in _ENDED and undelivered == self._batch:
            self._max_bytes *= 2  # the next message is larger than all of it
        self._wanted -= undelivered
        if self._wanted <= 0:
            await self._top_up()

    def _deliver(self, message: Msg) -> None:
        size = _size(message)
        self._arrived.append((message, size))
        self._arrived_bytes += size
        self._wanted -= 1
        self._changed.set()


def _size(message: Msg) -> int:
    headers = message.headers or {}
    return len(message.data) + sum(map(len, headers)) + sum(map(len, headers.values()))
