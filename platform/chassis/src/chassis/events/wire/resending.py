"""A request for events that a consumer misses, and the end of the answer.

A consumer asks the producer of a stream by a plain request beside the stream, which stays a prefix
of the rank order. Any replica of the producer may answer. The last message of an answer has the
header `END`; its data says why the events cannot be sent again, if so.
"""

import json
from dataclasses import asdict, dataclass

__all__ = ["END", "MOST_ANSWERS", "MOST_EVENTS", "Missing"]

MOST_EVENTS = 500
"""Events in one answer."""
MOST_ANSWERS = MOST_EVENTS + 1
"""Messages in one answer: events, and the end."""
END = "slipway-resend-end"


@dataclass(frozen=True, slots=True)
class Missing:
    """The numbers of a subject that are missing, and what is known of the event above them."""

    subject: str
    first: int
    last: int
    generation: str
    below_rank: int

    def to_json(self) -> bytes:
        """As it is asked for."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def of(cls, data: bytes) -> "Missing":
        """As it was asked for.

        Raises:
            ValueError: it is no such request.
        """
        try:
            given = cls(**json.loads(data))
            numbers = given.first, given.last, given.below_rank
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"no request to send again: {error}") from None
        if not all(isinstance(number, int) and 0 < number < 1 << 62 for number in numbers):
            raise ValueError("no request to send again: numbers are above 0")
        if not isinstance(given.subject, str) or not isinstance(given.generation, str):
            raise ValueError("no request to send again: subject and generation are texts")
        return given
