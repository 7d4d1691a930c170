"""The stream that keeps the last announcement of each member for members that start later."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import structlog
from nats.aio.client import Client

from chassis.events.jetstream import owned_stream
from chassis.events.jetstream.api import JetStreamError, StreamGone, api_request
from chassis.events.jetstream.stored_messages import last_messages
from chassis.events.jetstream.streams import stream_state
from chassis.events.membership.announcement import Announcement
from chassis.events.wire import control_subjects, event_headers

__all__ = ["MembersStream", "RunningMember", "ensure_stream", "members_config", "running_members"]

_log = structlog.get_logger(__name__)
_STREAM = control_subjects.MEMBERS_STREAM


class MembersStream:
    """The announcements of one service's members.

    If `makes` is false, the stream is not created; `hindrance` says so while it is missing.
    """

    def __init__(self, service: str, *, makes: bool, replicas: int) -> None:
        self._service = service
        self._replicas = replicas
        self.makes = makes
        self.hindrance = ""

    async def open(self, client: Client) -> None:
        """Ensure that the stream exists.

        Raises:
            LookupError: the stream is missing, and a release must create it.
            JetStreamError, nats.errors.Error, TimeoutError: the server did not answer as expected.
        """
        if self.makes:
            await ensure_stream(client, self._replicas)
        elif not await self.check(client):
            raise LookupError(self.hindrance)

    async def check(self, client: Client) -> bool:
        """Return whether the stream exists; log once that it is missing."""
        try:
            await stream_state(client, _STREAM)
        except StreamGone:
            missing = owned_stream.explain_missing(_STREAM, self._service)
            if missing != self.hindrance:
                _log.error(
                    "stream of members is missing; new members join more slowly", reason=missing
                )
            self.hindrance = missing
            return False
        if self.hindrance:
            _log.info("stream of members found", stream=_STREAM)
        self.hindrance = ""
        return True

    async def announcements(self, client: Client) -> AsyncIterator[tuple[str, Announcement, float]]:
        """Yield each member's id, its last announcement, and the age of that in seconds.

        The age is that by the server's clock, because this host's may be wrong.

        Raises:
            StreamGone: the stream does not exist.
            JetStreamError, nats.errors.Error, TimeoutError: the server did not answer as expected.
        """
        now = (await stream_state(client, _STREAM)).now
        subjects = [control_subjects.members_subject(self._service, "*")]
        async for stored in last_messages(client, _STREAM, subjects):
            headers = stored.headers
            if "KV-Operation" in headers or "Nats-Marker-Reason" in headers:
                continue
            announcement = Announcement.from_json(stored.data)
            if announcement is not None and event_headers.COPIED_FROM not in headers:
                id = stored.subject.rpartition(".")[2]
                yield id, announcement, max(0.0, now - stored.time)


@dataclass(frozen=True, slots=True)
class RunningMember:
    """A replica by its last announcement; `types` is None if that does not contain them."""

    member: str
    version: str
    types: frozenset[str] | None


async def running_members(client: Client, service: str) -> list[RunningMember]:
    """Return the replicas of a service that run, for a process that is not one of them.

    Raises:
        JetStreamError, nats.errors.Error: the server did not answer as expected.
    """
    announcements = MembersStream(service, makes=False, replicas=1).announcements(client)
    try:
        return [
            RunningMember(id, announced.version, announced.types)
            async for id, announced, age in announcements
            if age < announced.ttl_seconds
        ]
    except StreamGone:  # No replica of any service has ever run.
        return []


async def ensure_stream(client: Client, replicas: int) -> None:
    """Create the stream if it is missing. Several members may do so concurrently."""
    try:
        await stream_state(client, _STREAM)
        return
    except StreamGone:
        pass
    try:
        await api_request(client, f"STREAM.CREATE.{_STREAM}", members_config(replicas))
    except JetStreamError:
        await stream_state(client, _STREAM)


def members_config(replicas: int) -> dict[str, Any]:
    """Return the configuration of the stream: the last announcement of each member, with its TTL.

    It works like a key-value bucket (ADR-8) whose entries have TTLs (ADR-43). It is kept on disk,
    so that it survives a restart of the server.
    """
    return {
        "name": _STREAM,
        "subjects": [control_subjects.MEMBERS_SUBJECTS],
        "max_msgs_per_subject": 1,
        "storage": "file",
        "discard": "new",
        "allow_rollup_hdrs": True,
        "allow_direct": True,
        "allow_msg_ttl": True,
        "subject_delete_marker_ttl": 1_000_000_000,
        "deny_delete": True,
        "num_replicas": replicas,
    }
