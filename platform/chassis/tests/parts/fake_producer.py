"""Publishes correctly numbered events on the bookstore's subjects, otherwise as a test wants."""

import json
from collections import Counter
from collections.abc import Mapping
from typing import Self

import nats as nats_py
from google.protobuf.message import Message

from bookstore.v1 import BookReturned, BookSold
from chassis import EventContext
from chassis.events.jetstream.api import api_request
from chassis.events.producer.event_factory import EventFactory
from chassis.events.wire import event_headers
from chassis.events.wire.contracts import subjects_of
from chassis.events.wire.encoding import to_structured
from chassis.ids import uuid7

__all__ = ["FakeProducer"]


class FakeProducer:
    """A replacement of the bookstore: its stream without a relay."""

    def __init__(self, nats_url: str) -> None:
        self._url = nats_url
        self._numbers: Counter[str] = Counter()
        self._generation = uuid7()
        self._events = EventFactory("bookstore", (BookSold, BookReturned))

    async def __aenter__(self) -> Self:
        self._client = await nats_py.connect(self._url)
        subjects = [subjects_of(f"bookstore.v1.{name}") for name in ("BookSold", "BookReturned")]
        config = {"name": "bookstore", "subjects": subjects, "allow_direct": True}
        await api_request(self._client, "STREAM.CREATE.bookstore", config)
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    def start_new_generation(self) -> None:
        """Continue as a producer with a new database: another generation, and numbers from 1."""
        self._generation = uuid7()
        self._numbers.clear()

    async def publish(
        self,
        message: Message,
        *,
        headers: Mapping[str, str | None] | None = None,
        data: bytes | None = None,
        counted: bool = True,
        structured: bool = False,
    ) -> EventContext:
        """Publish an event, with its data or some of its headers replaced.

        Unless it is `counted`, it has the number of the event before it. In structured mode the
        payload holds everything but the number.
        """
        context, row = self._events.create(message, None)
        subject = row.subject
        self._numbers[subject] += counted
        if structured:
            content_type = json.dumps({"Content-Type": "application/cloudevents+json"}).encode()
            row = row._replace(headers=content_type, data=to_structured(context, message))
        sent = {
            **json.loads(row.headers),
            event_headers.NUMBER: event_headers.number_value(self._numbers[subject]),
            event_headers.GENERATION: self._generation,
            **(headers or {}),
        }
        payload = row.data if data is None else data
        kept = {name: value for name, value in sent.items() if value is not None}
        await self._client.jetstream().publish(subject, payload, headers=kept)
        return context

    async def api(self, subject: str, body: Mapping[str, object]) -> None:
        """Send a request to the JetStream API, as an administrator does."""
        await api_request(self._client, subject, body)

    async def publish_again(self, subject: str, data: bytes, headers: Mapping[str, str]) -> None:
        """Publish a message without changing it."""
        await self._client.jetstream().publish(subject, data, headers=dict(headers))
