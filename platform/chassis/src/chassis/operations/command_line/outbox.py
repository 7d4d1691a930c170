"""`python -m <service> outbox …`."""

import time

from chassis.events.contracts import stream_of
from chassis.events.streams import StreamGone, stream_state
from chassis.exit_codes import OK
from chassis.operations.command_line.arguments import Verbs
from chassis.operations.command_line.operator import Operator, Unreachable
from chassis.operations.outbox import outbox_status

__all__ = ["ABOUT", "add_verbs"]

ABOUT = "events on their way into the service's stream"


def add_verbs(verbs: Verbs) -> None:
    """status."""
    verbs.add("status", _status, "show what waits to be sent, and where the stream ends")


async def _status(operator: Operator) -> int:
    status = await operator.database.read(lambda tx: outbox_status(tx.session))
    oldest = status.oldest_unsent
    operator.show(
        [
            {
                "stream": stream_of(operator.service.name),
                "unsent": status.unsent,
                "oldest_unsent_seconds": round(time.time() - oldest, 1) if oldest else None,
                "kept": status.kept,
                "sent_rank": status.sent_rank,
                "last_rank": status.rank,
                "sent_sequence": status.sent_sequence,
                "stream_sequence": await _stream_sequence(operator),
                "generation": status.generation,
            }
        ]
    )
    return OK


async def _stream_sequence(operator: Operator) -> int | None:
    """Where the stream ends; None if it cannot be told, which is said."""
    stream = stream_of(operator.service.name)
    try:
        async with operator.broker() as client:
            return (await stream_state(client, stream)).last_sequence
    except StreamGone:
        operator.say(f"there is no stream {stream}")
    except Unreachable as error:
        operator.say(str(error))
    return None
