"""A consumer's request for events that it misses, and the end of the answer.

The consumer asks the stream's producer by a plain request, so that the stream itself stays a prefix
of the rank order. Any replica of the producer may answer. The last message of an answer has the
header `END`; its data says why the events cannot be sent again, if they cannot.
"""

import json
from dataclasses import asdict, dataclass

__all__ = ["END", "MOST_ANSWERS", "MOST_EVENTS", "Missing"]

MOST_EVENTS = 500
"""Maximum number of events in one answer."""
MOST_ANSWERS = MOST_EVENTS + 1
"""Maximum number of messages in one answer: the events and the end."""
END = "slipway-resend-end"


@dataclass(frozen=True, slots=True)
class Missing:
    """The missing numbers of a subject, from `first` to `last`.

    `generation` is that of the next event that the consumer has, and `below_rank` its rank.
    """

    subject: str
    first: int
    last: int
    generation: str
    below_rank: int

    def to_json(self) -> bytes:
        """Return the payload of the request."""
        return json.dumps(asdict(self)).encode()

    @classmethod
    def of(cls, data: bytes) -> "Missing":
        """Return the request with this payload.

        Raises:
            ValueError: the payload is not a valid request.
        """
        try:
            given = cls(**json.loads(data))
            numbers = given.first, given.last, given.below_rank
        except (TypeError, ValueError, RecursionError) as error:
            raise ValueError(f"the request to send again is not valid: {error}") from None
        if not all(isinstance(number, int) and 0 < number < 1 << 62 for number in numbers):
            raise ValueError("the request to send again is not valid: numbers must be above 0")
        if not isinstance(given.subject, str) or not isinstance(given.generation, str):
            raise ValueError(
                "the request to send again is not valid: subject and generation must be strings"
            )
        return given
