"""A producer outside the platform: unnumbered CloudEvents in a stream of its own."""

import json
from collections.abc import Mapping
from typing import Any, Self

import nats as nats_py

from chassis.events.jetstream.api import api_request

__all__ = ["Foreigner"]


class Foreigner:
    """Publishes events and other messages under `legacy.>`."""

    STREAM = "LEGACY"
    SOURCE = "https://legacy.example/shop"
    TYPE = "com.example.book.sold"

    def __init__(self, nats_url: str) -> None:
        self._url = nats_url
        self._config = {"name": self.STREAM, "subjects": ["legacy.>"]}

    async def __aenter__(self) -> Self:
        self._client = await nats_py.connect(self._url)
        await self.make_stream()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.close()

    async def make_stream(self) -> None:
        await api_request(self._client, f"STREAM.CREATE.{self.STREAM}", self._config)

    async def allow_direct_gets(self) -> None:
        """Let clients read the stream without a consumer."""
        config = self._config | {"allow_direct": True}
        await api_request(self._client, f"STREAM.UPDATE.{self.STREAM}", config)

    async def delete_stream(self) -> None:
        await api_request(self._client, f"STREAM.DELETE.{self.STREAM}")

    async def purge(self, up_to: int) -> None:
        await api_request(self._client, f"STREAM.PURGE.{self.STREAM}", {"seq": up_to})

    async def tell(self, id: str, *, key: str = "book-0", **attributes: str) -> None:
        """Publish an event in binary mode with JSON data."""
        headers = {
            "ce-specversion": "1.0",
            "ce-id": id,
            "ce-source": self.SOURCE,
            "ce-type": self.TYPE,
            "ce-subject": key,
            "content-type": "application/json",
            **{f"ce-{name}": value for name, value in attributes.items()},
        }
        await self.send(json.dumps({"book_id": key, "price": 1}).encode(), headers)

    async def tell_structured(self, id: str, *, key: str = "book-0") -> None:
        """Publish an event in structured mode."""
        event = {
            "specversion": "1.0",
            "id": id,
            "source": self.SOURCE,
            "type": self.TYPE,
            "subject": key,
            "data": {"book_id": key, "unknown": True},
        }
        headers = {"Content-Type": "application/cloudevents+json"}
        await self.send(json.dumps(event).encode(), headers)

    async def send(
        self, data: bytes, headers: Mapping[str, Any] | None = None, subject: str = "legacy.books.1"
    ) -> None:
        """Publish any message."""
        await self._client.jetstream().publish(subject, data, headers=dict(headers or {}))
