"""Pulling messages from a consumer without acknowledgments and without waiting for full batches.

Memory is bounded: each request ends after `max_bytes`, and no request is made while that many bytes
wait to be processed.
"""

import contextlib
import json
import time

from nats.aio.client import Client
from nats.aio.subscription import Subscription

from chassis.events.consumer.deliveries import Deliveries
from chassis.events.jetstream.client import JetStreamClient, api_subject
from chassis.events.jetstream.consumers import create_consumer, delete_consumer
from chassis.events.jetstream.delivery import Delivery
from chassis.events.waiting import wait_at_most
from chassis.ids import uuid7

__all__ = ["EXPIRES_SECONDS", "HEARTBEAT_SECONDS", "Pull", "PullBroken", "request_messages"]

HEARTBEAT_SECONDS = 2.0
"""The interval of the server's heartbeats while nothing is delivered."""
EXPIRES_SECONDS = 20.0
"""The time after which the server ends a request."""
# A request that ended in one of these ways is repeated; any other status breaks the consumer.
_ENDED = {"404", "408"}
_ENDED_409 = {"Message Size Exceeds MaxBytes", "Batch Completed"}
_HEARTBEAT = "100"


class PullBroken(Exception):
    """The consumer no longer delivers: read the positions again and create a new one."""


class Pull:
    """An ephemeral consumer and the requests that keep it delivering.

    A second request is made before the first has ended, so that delivery does not pause.
    """

    def __init__(self, client: JetStreamClient, stream: str, batch: int, max_bytes: int) -> None:
        self._client = client
        self._stream = stream
        self._batch = batch
        self._max_bytes = max_bytes
        self._name = f"r{uuid7().replace('-', '')}"
        self._inbox = client.new_inbox()
        self._subscription: Subscription | None = None
        self._deliveries = Deliveries()
        # The number of messages that the server may still deliver.
        self._requested = 0
        self._requests = 0
        self._last_sign_of_life = time.monotonic()
        self._broken = ""

    async def open(self, subjects: list[str], start: int | None) -> None:
        """Create the consumer, `start` being a stream sequence or None for the oldest message.

        Raises:
            StreamGone: there is no such stream.
        """
        await create_consumer(self._client, self._stream, self._name, subjects, start)
        self._subscription = await self._client.receive(f"{self._inbox}.*", self._on_message)
        await self._request()

    async def close(self) -> None:
        """Unsubscribe and, if the server is connected, delete the consumer there."""
        if self._subscription:
            # Without a connection the subscription has ended already.
            with contextlib.suppress(Exception):
                await self._client.stop_receiving(self._subscription)
        if self._client.is_connected:
            await delete_consumer(self._client, self._stream, self._name)

    async def next_batch(self, max_messages: int, seconds: float) -> list[Delivery]:
        """Return the messages that have arrived, or none if none arrives within `seconds`.

        At most `max_messages` are returned, of which the last may exceed the bytes of a request.

        Raises:
            PullBroken: the consumer was deleted or interrupted, or the server is silent.
        """
        deadline = time.monotonic() + seconds
        while not self._deliveries:
            if self._broken:
                raise PullBroken(self._broken)
            now = time.monotonic()
            if now - self._last_sign_of_life > 2.5 * HEARTBEAT_SECONDS:
                raise PullBroken("no heartbeat")
            if now >= deadline:
                return []
            if self._requested <= 0:
                await self._request_if_needed()
            self._deliveries.changed.clear()
            await wait_at_most(self._deliveries.changed, min(deadline - now, HEARTBEAT_SECONDS))
        batch = self._deliveries.next_batch(max_messages, self._max_bytes)
        await self._request_if_needed()
        return batch

    def interrupt(self, reason: str) -> None:
        """Let `next_batch` raise PullBroken once all that was delivered has been returned."""
        self._broken = reason
        self._deliveries.changed.set()

    async def _request_if_needed(self) -> None:
        """Request the next messages unless enough are delivered or requested."""
        enough = (
            self._requested + len(self._deliveries) > self._batch
            or self._deliveries.bytes >= self._max_bytes
        )
        if not (self._broken or enough):
            await self._request()

    async def _request(self) -> None:
        """Request one batch on a reply subject of its own."""
        self._requests += 1
        reply = f"{self._inbox}.{self._requests}"
        self._requested += self._batch
        self._last_sign_of_life = time.monotonic()
        await request_messages(
            self._client, self._stream, self._name, reply, self._batch, self._max_bytes
        )

    def _on_message(self, message: Delivery) -> None:
        """Keep a delivered event, or react to a status of the server."""
        self._last_sign_of_life = time.monotonic()
        # A status of the server arrives on the request's reply subject, an event on its own.
        is_status = message.subject.startswith(self._inbox)
        status = message.headers.get("Status") if is_status else None
        if status is None:
            self._deliveries.add(message)
            self._requested -= 1
        elif status == _HEARTBEAT:
            return
        elif status in _ENDED or message.headers.get("Description") in _ENDED_409:
            undelivered = int(message.headers.get("Nats-Pending-Messages", 0))
            self._request_ended(status, undelivered)
        else:
            self.interrupt(f"{status} {message.headers.get('Description', '')}")

    def _request_ended(self, status: str, undelivered: int) -> None:
        """Account for a request that ended with `undelivered` messages left."""
        if status not in _ENDED and undelivered == self._batch:
            # The request ended without a message because the next one alone exceeds its bytes.
            self._max_bytes *= 2
        self._requested -= undelivered
        # `next_batch` requests more, if it waits.
        self._deliveries.changed.set()


async def request_messages(
    client: Client, stream: str, consumer: str, reply: str, batch: int, max_bytes: int
) -> None:
    """Ask a consumer for its next messages. They are sent to the `reply` subject as they come."""
    body = {
        "batch": batch,
        "max_bytes": max_bytes,
        "expires": int(EXPIRES_SECONDS * 1e9),
        "idle_heartbeat": int(HEARTBEAT_SECONDS * 1e9),
    }
    await client.publish(
        api_subject(client, f"CONSUMER.MSG.NEXT.{stream}.{consumer}"),
        json.dumps(body).encode(),
        reply=reply,
    )
