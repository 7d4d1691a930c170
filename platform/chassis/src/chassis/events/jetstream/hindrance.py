"""Why nothing can be published or read although the broker is connected: logged once."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import nats.errors
import structlog
from nats.aio.client import Client
from nats.errors import NoRespondersError

from chassis.events.jetstream.api import (
    STREAM_NOT_FOUND,
    SUBJECTS_OVERLAP,
    JetStreamError,
    StreamGone,
)
from chassis.events.jetstream.streams import streams_with_subject

__all__ = ["Hindrance"]

_log = structlog.get_logger(__name__)
_JETSTREAM_IS_OFF = {10039, 10076}


class Hindrance:
    """The reason why a part of the event path cannot use its stream; None while it can.

    `work` is "publishing" or "reading". `missing` is the text for a missing stream; without it a
    missing stream is waited for, because its owner creates it.
    """

    def __init__(self, work: str, stream: str, missing: str = "") -> None:
        self._work = work
        self._stream = stream
        self._missing = missing
        self.reason: str | None = None
        self._explained_error: Exception | None = None

    @asynccontextmanager
    async def seen(self, client: Client, subjects: Sequence[str]) -> AsyncIterator[None]:
        """Find out why the block fails, if the broker or another stream is the cause."""
        try:
            yield
        except (JetStreamError, nats.errors.Error, TimeoutError) as error:
            self._set_reason(await self._find_reason(client, subjects, error), subjects)
            self._explained_error = error if self.reason is not None else None
            raise

    def explains(self, error: Exception) -> bool:
        """Whether `reason` was found for this error, so that it has been logged."""
        return error is self._explained_error

    def over(self, remaining: str | None = None) -> None:
        """Note that the work continues, but not for all events if there is a `remaining` reason."""
        self._set_reason(remaining, ())

    def _set_reason(self, reason: str | None, subjects: Sequence[str]) -> None:
        """Set the reason, and log when it changes."""
        before, self.reason = self.reason, reason
        if reason is not None and reason != before:
            _log.error(
                "stream is unusable; its events wait",
                work=self._work,
                stream=self._stream,
                subjects=sorted(subjects),
                reason=reason,
            )
        elif reason is None and before is not None:
            _log.info("stream is usable again", work=self._work, stream=self._stream)

    async def _find_reason(
        self, client: Client, subjects: Sequence[str], error: Exception
    ) -> str | None:
        """Return why the block has failed; None if the cause is elsewhere."""
        if not client.is_connected:
            return None  # The broker logs a lost connection.
        code = getattr(error, "error_code", None)
        if isinstance(error, NoRespondersError) or code in _JETSTREAM_IS_OFF:
            return "JetStream is off, at this broker or for this account"
        gone = isinstance(error, StreamGone)
        if gone and self._missing:
            return self._missing if code == STREAM_NOT_FOUND else None
        if gone or code == SUBJECTS_OVERLAP:
            holders = await self._describe_holders(client, subjects)
            if holders:
                return f"not in {self._stream!r}, since {' and '.join(holders)}"
            if gone or holders is not None:
                return None  # The owner has not created it yet, or the other stream was deleted.
            return str(error)
        if isinstance(error, JetStreamError):
            return f"the broker refuses: {error}"
        said = str(client.last_error or "")
        if "permissions violation" in said.lower():
            return f"the broker refuses: {said}"
        return f"the broker does not answer: {str(error) or type(error).__name__}"

    async def _describe_holders(self, client: Client, subjects: Sequence[str]) -> list[str] | None:
        """Return a text for each other stream that has some of these subjects.

        Return None if the broker does not tell.
        """
        held: dict[str, list[str]] = {}
        try:
            for subject in sorted(subjects):
                for name in await streams_with_subject(client, subject):
                    if name != self._stream:
                        held.setdefault(name, []).append(subject)
        except (JetStreamError, nats.errors.Error, TimeoutError):
            return None
        return [f"stream {name!r} holds {', '.join(found)}" for name, found in held.items()]
