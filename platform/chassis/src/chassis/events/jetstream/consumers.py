"""Consumers without acknowledgements."""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import Any

from nats.aio.client import Client

from chassis.events.jetstream.api import api_request
from chassis.ids import uuid7

__all__ = ["count_from", "create_consumer", "delete_consumer"]

_DELETE_SECONDS = 1


async def create_consumer(
    client: Client, stream: str, name: str, subjects: Iterable[str], start: int | None
) -> Mapping[str, Any]:
    """Create an ephemeral, in-memory, ack-less pull consumer; return the server's description.

    `start` is the first sequence; None for the oldest message.

    Raises:
        StreamGone: the stream does not exist.
    """
    config: dict[str, Any] = {
        "name": name,
        "ack_policy": "none",
        "deliver_policy": "all" if start is None else "by_start_sequence",
        "filter_subjects": list(subjects),
        "mem_storage": True,
        "num_replicas": 1,
        "inactive_threshold": 30_000_000_000,
        "max_waiting": 8,
    }
    if start is not None:
        config["opt_start_seq"] = max(1, start)
    created: Mapping[str, Any] = await api_request(
        client,
        f"CONSUMER.CREATE.{stream}.{name}",
        {"stream_name": stream, "config": config, "action": "create"},
    )
    return created


async def count_from(client: Client, stream: str, subject: str, sequence: int) -> int:
    """Count the messages of a subject (wildcards allowed) from a sequence to the stream's end.

    Raises:
        StreamGone: the stream does not exist.
    """
    name = f"n{uuid7().replace('-', '')}"
    created = await create_consumer(client, stream, name, [subject], sequence)
    await delete_consumer(client, stream, name)
    return int(created["num_pending"])


async def delete_consumer(client: Client, stream: str, name: str) -> None:
    """Delete a consumer, ignoring errors: the server deletes it by itself when it is inactive."""
    with contextlib.suppress(Exception):
        deleting = api_request(client, f"CONSUMER.DELETE.{stream}.{name}")
        await asyncio.wait_for(deleting, _DELETE_SECONDS)
