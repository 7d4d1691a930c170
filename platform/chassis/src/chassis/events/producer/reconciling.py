"""Compares outbox and stream for a relay, on time, and says what is wrong with the stream."""

import time
from collections.abc import Sequence

import structlog
from nats.aio.client import Client

from chassis.database import Database
from chassis.event_settings import EventSettings
from chassis.events.jetstream import owned_stream
from chassis.events.jetstream.api import JetStreamError, StreamGone
from chassis.events.jetstream.hindrance import Hindrance
from chassis.events.producer.recovery import Compared, Recovery
from chassis.events.wire.contracts import subjects_of

__all__ = ["Reconciler"]

_log = structlog.get_logger(__name__)


class Reconciler:
    """A relay's knowledge of its stream: when it was compared, its drift, and what hinders it."""

    def __init__(
        self, database: Database, stream: str, types: Sequence[str], settings: EventSettings
    ) -> None:
        self._stream = stream
        self._types = types
        self._settings = settings
        self._recovery = Recovery(database, stream, types, settings)
        missing = "" if settings.makes_streams else owned_stream.explain_missing(stream, stream)
        self.hindrance = Hindrance("publishing", stream, missing)
        self.drift: tuple[str, ...] = ()
        """A line for each setting of the stream that puts events at risk, as last seen."""
        self.compared_at = 0.0
        """When outbox and stream were compared last, in monotonic seconds."""

    async def compare(self, client: Client) -> Compared:
        """Compare outbox and stream. Raises what Recovery.compare raises."""
        async with self.hindrance.seen(client, [subjects_of(type) for type in self._types]):
            compared = await self._recovery.compare(client)
        self.hindrance.over(self._explain_lack(compared.lacks))
        if compared.drift != self.drift:
            for line in compared.drift:
                _log.warning(
                    "stream settings put events at risk; correct them",
                    stream=self._stream,
                    drift=line,
                )
            if not compared.drift:
                _log.info("stream settings are correct again", stream=self._stream)
            self.drift = compared.drift
        self.compared_at = time.monotonic()
        return compared

    def is_due(self, since: float | None = None) -> bool:
        """Whether a comparison is due, by the time (monotonic seconds) of the last one."""
        # A quarter of the stream's age, so that an event's time of sending is read before the
        # stream deletes the event.
        settings = self._settings
        interval = min(settings.relay_reconcile_seconds, settings.stream_max_age_seconds / 4)
        if self.hindrance.reason is not None:
            interval = min(interval, settings.relay_sweep_seconds)
        return time.monotonic() - (self.compared_at if since is None else since) > interval

    def explains(self, error: JetStreamError) -> bool:
        """Whether an event was refused for a subject that the stream is known to lack."""
        return self.hindrance.reason is not None and isinstance(error, StreamGone)

    def _explain_lack(self, subjects: Sequence[str]) -> str | None:
        """Return why events of some types, and those behind them, wait for `broker apply`."""
        if not subjects:
            return None
        return (
            f"stream {self._stream!r} lacks {', '.join(subjects)}: "
            f"`python -m {self._stream} broker apply`, with the service's database, adds them"
        )
