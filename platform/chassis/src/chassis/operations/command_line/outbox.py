"""`python -m <service> outbox …`: events on their way into the service's stream."""

import time
from collections.abc import Callable, Sequence
from functools import partial

from sqlalchemy.orm import Session

from chassis.database import Transaction
from chassis.database.chunks import chunks
from chassis.events.jetstream.api import StreamGone
from chassis.events.jetstream.stream_drift import drift
from chassis.events.jetstream.streams import stream_state
from chassis.events.producer import refused
from chassis.events.producer.refused import Refused
from chassis.events.wire.contracts import stream_of
from chassis.exit_codes import NOTHING, OK
from chassis.operations.command_line.arguments import Verbs, duration
from chassis.operations.command_line.operator import Operator, Unreachable, WrongUsage
from chassis.operations.command_line.table import Row, counted, moment
from chassis.operations.outbox import outbox_status

__all__ = ["ABOUT", "add_verbs"]

ABOUT = "events on their way into the service's stream"
_EVENTS_PER_COMMIT = 500


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs status, refused, resend and drop."""
    verbs.add("status", _status, "show which events wait to be sent, and where the stream ends")
    verbs.add("refused", _refused, "list events that the stream refused for their size")
    for name, run, about in (
        ("resend", _resend, "send refused events again, each at the end of its key"),
        ("drop", _drop, "delete refused events permanently"),
    ):
        changing = verbs.add(name, run, about, changes=True)
        changing.add_argument("ids", type=int, nargs="*", metavar="ID", help="as listed by refused")
        changing.add_argument(
            "--type", help="only this event type: its full name, or its last part"
        )
        changing.add_argument(
            "--since", type=duration, metavar="AGE", help="refused within this time: 90s, 2h, 7d"
        )
        changing.add_argument("--all", action="store_true", help="all refused events")


async def _status(operator: Operator) -> int:
    """Print how many events the outbox holds, and how far it is sent."""
    if not operator.service.publishes:
        operator.show([])
        operator.say(f"{operator.service.name} publishes no events")
        return NOTHING
    status = await operator.database.read(lambda tx: outbox_status(tx.session))
    oldest = status.oldest_unsent
    operator.show(
        [
            {
                "stream": stream_of(operator.service.name),
                "unsent": status.unsent,
                "oldest_unsent_seconds": round(time.time() - oldest, 1) if oldest else None,
                "refused": status.refused,
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
    """Return the stream's last sequence, None if it is unknown; say why, and what has drifted."""
    stream = stream_of(operator.service.name)
    try:
        async with operator.broker() as client:
            state = await stream_state(client, stream)
        for line in drift(state.config, operator.settings):
            operator.say(f"stream {stream}: {line}")
        return state.last_sequence
    except StreamGone:
        operator.say(f"there is no stream {stream}")
    except Unreachable as error:
        operator.say(str(error))
    return None


async def _refused(operator: Operator) -> int:
    """Print the events that the stream has refused."""
    found = await operator.database.read(lambda tx: refused.list_all(tx.session))
    operator.show([_row(event) for event in found])
    if not found:
        operator.say("no events are refused")
    return OK if found else NOTHING


async def _resend(operator: Operator) -> int:
    """Send the selected refused events again."""
    return await _change(operator, refused.send_again)


async def _drop(operator: Operator) -> int:
    """Delete the selected refused events."""
    return await _change(operator, refused.drop)


async def _change(operator: Operator, change: Callable[[Session, Sequence[int]], int]) -> int:
    """Show which refused events a change affects, and make it if the operator confirms."""
    arguments = operator.arguments
    if not (arguments.ids or arguments.type or arguments.since or arguments.all):
        raise WrongUsage(
            f"name the refused events to {arguments.verb}: IDs, --type, --since, or --all"
        )
    refused_from = 0.0 if arguments.since is None else time.time() - arguments.since
    found = [
        event
        for event in await operator.database.read(lambda tx: refused.list_all(tx.session))
        if (not arguments.ids or event.id in arguments.ids)
        and (not arguments.type or f".{event.type}".endswith(f".{arguments.type}"))
        and event.refused_at >= refused_from
    ]

    async def do() -> int:
        for some in chunks([event.id for event in found], _EVENTS_PER_COMMIT):
            done = await operator.database.transaction(partial(_changed, change, some))
            operator.changed += done
        return operator.changed

    what = f"{arguments.verb} {counted(len(found), 'refused event')}"
    return await operator.carry_out(
        what, [_row(event) for event in found], do, noun="refused event"
    )


def _changed(
    change: Callable[[Session, Sequence[int]], int], ids: Sequence[int], tx: Transaction
) -> int:
    return change(tx.session, ids)


def _row(event: Refused) -> Row:
    """Return a refused event as a row."""
    return {
        "id": event.id,
        "type": event.type,
        "event_id": event.event_id,
        "bytes": event.bytes,
        "refused": moment(event.refused_at),
        "reason": event.reason,
    }
