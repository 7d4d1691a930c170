"""The announcements that a member publishes about itself."""

from collections.abc import Iterable

from chassis.events.jetstream.broker import Broker
from chassis.events.membership.announcement import Announcement

__all__ = ["Announcer"]


class Announcer:
    """Publishes this member's announcements on its `subject` until `stop`."""

    def __init__(
        self,
        broker: Broker,
        subject: str,
        *,
        version: str,
        ttl_seconds: int,
        reads: bool,
        types: Iterable[str],
    ) -> None:
        self._broker = broker
        self._version = version
        self._ttl_seconds = ttl_seconds
        self._reads = reads
        self._types = frozenset(types)
        self._stopped = False
        self.subject = subject

    async def announce(self, database: str | None, *, joined: bool, weight: int | None) -> None:
        """Publish what this member is at the moment; the message is deleted after the TTL."""
        announcement = Announcement(
            self._version,
            self._ttl_seconds,
            database,
            joined=joined,
            reads=self._reads,
            types=self._types,
            weight=weight,
        )
        ttl = {"Nats-TTL": f"{self._ttl_seconds}s"}
        if not self._stopped:
            await self._broker.client.publish(self.subject, announcement.to_json(), headers=ttl)

    def stop(self) -> None:
        """Publish no more announcements."""
        self._stopped = True

    async def say_goodbye(self) -> None:
        """Publish that this member has left, which also deletes its last announcement."""
        headers = {"KV-Operation": "PURGE", "Nats-Rollup": "sub", "Nats-TTL": "1s"}
        await self._broker.client.publish(self.subject, b"", headers=headers)
        await self._broker.client.flush(timeout=1)
