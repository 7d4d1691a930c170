"""A stream as the server describes it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from nats.aio.client import Client

from chassis.events.jetstream.api import api_request
from chassis.events.jetstream.server_time import epoch_seconds

__all__ = ["StreamState", "stream_state", "streams_with_subject"]


@dataclass(frozen=True, slots=True)
class StreamState:
    """The answer to STREAM.INFO. `now` is the server's time of the answer, in epoch seconds."""

    created: str
    messages: int
    first_sequence: int
    last_sequence: int
    config: Mapping[str, Any]
    now: float = field(default=0.0, compare=False)

    @property
    def max_age_seconds(self) -> float:
        """Maximum age of a message; 0 for unlimited."""
        return float(self.config.get("max_age", 0)) / 1e9


async def stream_state(client: Client, stream: str) -> StreamState:
    """Return the state of a stream, from its leader.

    Raises:
        StreamGone: the stream does not exist.
    """
    info = await api_request(client, f"STREAM.INFO.{stream}")
    state = info["state"]
    return StreamState(
        created=info["created"],
        messages=state["messages"],
        first_sequence=state["first_seq"],
        last_sequence=state["last_seq"],
        config=info["config"],
        now=epoch_seconds(info["ts"]),
    )


async def streams_with_subject(client: Client, subject: str) -> list[str]:
    """Return the names of the streams that have a subject, or a subject that a wildcard matches."""
    answer = await api_request(client, "STREAM.NAMES", {"subject": subject})
    return list(answer.get("streams") or [])
