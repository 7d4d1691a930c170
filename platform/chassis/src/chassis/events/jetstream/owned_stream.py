"""The stream that a service owns: it has the service's name and the subjects of its events."""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nats.aio.client import Client

from chassis.event_settings import EventSettings
from chassis.events.jetstream.api import StreamGone, api_request
from chassis.events.jetstream.stream_drift import drift
from chassis.events.jetstream.streams import StreamState, stream_state
from chassis.events.wire.contracts import subjects_of
from chassis.events.wire.lanes import LANES

__all__ = [
    "LaneCountChanged",
    "OwnedStream",
    "create_stream",
    "ensure_stream",
    "explain_missing",
    "extend_stream",
    "look_at_stream",
    "made_after_rank",
]

_LANES_KEY = "slipway.lanes"
_MADE_AFTER_KEY = "slipway.made-after-rank"


class LaneCountChanged(Exception):
    """The stream was created with another number of lanes than this platform has."""


@dataclass(frozen=True, slots=True)
class OwnedStream:
    """A stream as its owner finds it.

    `lacks` are the subjects that are missing, `drift` a line for each setting that puts events at
    risk.
    """

    state: StreamState
    lacks: tuple[str, ...]
    drift: tuple[str, ...]


async def ensure_stream(
    client: Client,
    stream: str,
    types: Sequence[str],
    settings: EventSettings,
    sent_rank: Callable[[], Awaitable[int]],
) -> OwnedStream:
    """Create the service's stream, or add the subjects that it lacks.

    `sent_rank` is called for a stream that is created: the rank up to which events had been sent
    before.

    Raises:
        LaneCountChanged: the stream has another number of lanes.
        JetStreamError: the server refused.
    """
    try:
        owned = await look_at_stream(client, stream, types, settings)
    except StreamGone:
        await create_stream(client, stream, types, settings, await sent_rank())
        return OwnedStream(await stream_state(client, stream), (), ())
    if owned.lacks:
        await extend_stream(client, stream, owned)
    return OwnedStream(owned.state, (), owned.drift)


async def look_at_stream(
    client: Client, stream: str, types: Sequence[str], settings: EventSettings
) -> OwnedStream:
    """Compare the stream with what its owner publishes, without changing it.

    Raises:
        LaneCountChanged: the stream has another number of lanes.
        StreamGone: the stream is missing.
        JetStreamError: the server refused.
    """
    state = await stream_state(client, stream)
    lanes = state.config.get("metadata", {}).get(_LANES_KEY)
    if lanes != str(LANES):
        raise LaneCountChanged(
            f"stream {stream!r} has {lanes or 'an unknown number of'} lanes, this platform has "
            f"{LANES}: stop its publishers, let its consumers drain it, then delete the stream"
        )
    held = state.config.get("subjects") or ()
    lacks = sorted(set(map(subjects_of, types)) - set(held))
    return OwnedStream(state, tuple(lacks), tuple(drift(state.config, settings)))


async def create_stream(
    client: Client,
    stream: str,
    types: Sequence[str],
    settings: EventSettings,
    sent_rank: int | None,
) -> None:
    """Create the stream.

    `sent_rank` is the rank up to which events had been sent before; None if it is unknown. The
    stream's metadata hold it.

    Raises:
        JetStreamError: the server refused.
    """
    metadata = {_LANES_KEY: str(LANES)}
    if sent_rank is not None:
        metadata[_MADE_AFTER_KEY] = str(sent_rank)
    config = _stream_config(stream, types, settings) | {"metadata": metadata}
    await api_request(client, f"STREAM.CREATE.{stream}", config)


async def extend_stream(client: Client, stream: str, owned: OwnedStream, **more: Any) -> None:
    """Add the subjects that the stream lacks, and set `more` of its configuration.

    Raises:
        JetStreamError: the server refused.
    """
    subjects = sorted({*(owned.state.config.get("subjects") or ()), *owned.lacks})
    config = {**owned.state.config, "subjects": subjects, **more}
    await api_request(client, f"STREAM.UPDATE.{stream}", config)


def made_after_rank(state: StreamState) -> int | None:
    """Return the rank up to which events had been sent before the stream was created, or None."""
    text = state.config.get("metadata", {}).get(_MADE_AFTER_KEY, "")
    return int(text) if text.isascii() and text.isdigit() else None


def explain_missing(stream: str, service: str) -> str:
    """Return the text for a missing stream that the service may not create by itself."""
    return f"stream {stream!r} is missing: `python -m {service} broker apply` creates it"


def _stream_config(stream: str, types: Sequence[str], settings: EventSettings) -> dict[str, Any]:
    """Return the configuration with which a service's stream is created."""
    return {
        "name": stream,
        "subjects": [subjects_of(type) for type in types],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_age": int(settings.stream_max_age_seconds * 1e9),
        "num_replicas": settings.stream_replicas,
        "allow_batched": True,
        "allow_direct": True,
    }
