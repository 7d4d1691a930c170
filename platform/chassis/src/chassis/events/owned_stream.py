"""The stream a service owns: named for it, with the subjects of what it publishes."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any

from nats.aio.client import Client

from chassis.events.lanes import LANES
from chassis.events.settings import EventSettings
from chassis.events.stream_drift import drift
from chassis.events.streams import StreamGone, StreamState, api, stream_state

__all__ = ["LaneCountChanged", "ensure_stream", "made_after_rank"]

_LANES_KEY = "slipway.lanes"
_MADE_AFTER_KEY = "slipway.made-after-rank"


class LaneCountChanged(Exception):
    """The stream was made with another number of lanes than this platform has."""


async def ensure_stream(
    client: Client,
    stream: str,
    types: Sequence[str],
    settings: EventSettings,
    sent_rank: Callable[[], Awaitable[int]],
) -> tuple[StreamState, list[str]]:
    """Make the service's stream, or add to it the subjects it lacks; and what else differs.

    A stream that is made says up to which rank events had been sent before: `sent_rank` is asked.

    Raises:
        LaneCountChanged: it has another number of lanes.
        JetStreamError: the server refused.
    """
    wanted = _config(stream, types, settings)
    try:
        state = await stream_state(client, stream)
    except StreamGone:
        wanted["metadata"][_MADE_AFTER_KEY] = str(await sent_rank())
        await api(client, f"STREAM.CREATE.{stream}", wanted)
        return await stream_state(client, stream), []
    lanes = state.config.get("metadata", {}).get(_LANES_KEY)
    if lanes != str(LANES):
        raise LaneCountChanged(
            f"stream {stream!r} has {lanes or 'an unknown number of'} lanes, this platform has "
            f"{LANES}: stop its publishers, let its consumers drain it, then delete the stream"
        )
    missing = sorted(set(wanted["subjects"]) - set(state.config["subjects"]))
    if missing:
        subjects = sorted({*state.config["subjects"], *missing})
        await api(client, f"STREAM.UPDATE.{stream}", {**state.config, "subjects": subjects})
    return state, drift(state.config, settings)


def made_after_rank(state: StreamState) -> int | None:
    """The rank up to which events had been sent before a stream was made; None if it is unknown."""
    text = state.config.get("metadata", {}).get(_MADE_AFTER_KEY, "")
    return int(text) if text.isascii() and text.isdigit() else None


def _config(stream: str, types: Sequence[str], settings: EventSettings) -> dict[str, Any]:
    return {
        "name": stream,
        "subjects": [f"{type}.*" for type in types],
        "retention": "limits",
        "storage": "file",
        "discard": "old",
        "max_age": int(settings.stream_max_age_seconds * 1e9),
        "num_replicas": settings.stream_replicas,
        "allow_atomic": True,
        "allow_direct": True,
        "metadata": {_LANES_KEY: str(LANES)},
    }
