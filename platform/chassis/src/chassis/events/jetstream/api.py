"""Plain requests to the server's JetStream API, and the errors that it answers with.

ADR-1 and the following of nats-architecture-and-design describe the API. The event path needs more
of it than the client's own JetStream context offers.
"""

import json
from collections.abc import Mapping
from typing import Any

from nats.aio.client import Client
from nats.aio.msg import Msg

from chassis.events.jetstream.client import api_subject

__all__ = [
    "EVENT_REFUSED",
    "STREAM_NOT_FOUND",
    "SUBJECTS_OVERLAP",
    "TIMEOUT_SECONDS",
    "BatchIncomplete",
    "BatchesRefused",
    "JetStreamError",
    "StreamGone",
    "WrongLastSequence",
    "api_request",
    "error_of",
    "parse_answer",
]

STREAM_NOT_FOUND = 10059
SUBJECTS_OVERLAP = 10065
"""Error code if another stream has some of the subjects."""
EVENT_REFUSED = frozenset({10054, 10097})
"""Error codes of a message or headers that are larger than the stream or the server accepts.
Smaller messages would be stored."""
TIMEOUT_SECONDS = 5.0
_WRONG_LAST_SEQUENCE = 10071
_BATCHES_OFF = 10205
_TOO_MANY_BATCHES = 10211


class JetStreamError(Exception):
    """The server refused a request of its JetStream API."""

    def __init__(self, code: int, error_code: int, description: str) -> None:
        super().__init__(f"{description} ({code}/{error_code})")
        self.code = code
        self.error_code = error_code
        self.description = description


class StreamGone(JetStreamError):
    """The stream does not exist, or no stream has the subject."""


class BatchIncomplete(JetStreamError):
    """The server did not tell which part of a batch the stream has stored."""


class BatchesRefused(JetStreamError):
    """The stream accepts no batches, or none at the moment. It may accept single messages."""


class WrongLastSequence(JetStreamError):
    """The stream does not end at the sequence that the publisher expected."""

    @property
    def last_sequence(self) -> int | None:
        """The sequence at which the stream ended, if the server named it."""
        _, _, sequence = self.description.rpartition(": ")
        return int(sequence) if sequence.isascii() and sequence.isdigit() else None


_KINDS = {
    _WRONG_LAST_SEQUENCE: WrongLastSequence,
    STREAM_NOT_FOUND: StreamGone,
    _BATCHES_OFF: BatchesRefused,
    _TOO_MANY_BATCHES: BatchesRefused,
}


async def api_request(client: Client, subject: str, body: Mapping[str, Any] | None = None) -> Any:
    """Send a request to the JetStream API and return the parsed answer.

    `subject` has no prefix, as `STREAM.INFO.orders`.

    Raises:
        JetStreamError: the server refused, with the subclass for its error code.
        TimeoutError, nats.errors.Error: no answer.
    """
    payload = json.dumps(body).encode() if body is not None else b""
    answer = await client.request(api_subject(client, subject), payload, timeout=TIMEOUT_SECONDS)
    return parse_answer(answer)


def parse_answer(answer: Msg) -> Any:
    """Return the parsed answer of a request or of a publish.

    Raises:
        JetStreamError: it is an error.
    """
    parsed = json.loads(answer.data)
    if "error" in parsed:
        raise error_of(parsed["error"])
    return parsed


def error_of(error: Mapping[str, Any]) -> JetStreamError:
    """Return the exception for an error in an answer of the JetStream API."""
    code, error_code = int(error.get("code", 0)), int(error.get("err_code", 0))
    kind = _KINDS.get(error_code, JetStreamError)
    return kind(code, error_code, str(error.get("description")))
