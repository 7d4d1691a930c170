"""`python -m <service> dead-letters …`: events that could not be handled."""

import argparse
import base64
import json
import time
from collections.abc import Callable

from google.protobuf import json_format
from sqlalchemy.orm import Session

from chassis.events.wire.decoding import decode
from chassis.events.wire.event_data import from_data
from chassis.exit_codes import NOTHING, OK
from chassis.operations.command_line.arguments import Verbs, duration
from chassis.operations.command_line.operator import Operator, WrongUsage
from chassis.operations.command_line.table import Row, counted, moment
from chassis.operations.dead_letters import (
    DeadLetter,
    DeadLetterFilter,
    drop_dead_letters,
    keys_of_dead_letters,
    last_dead_letter,
    list_dead_letters,
    redrive_dead_letters,
    summarize_dead_letters,
)

__all__ = ["ABOUT", "add_verbs"]

ABOUT = "events that could not be handled"
_KEYS_SHOWN = 5
_GROUPS_SHOWN = 20


def add_verbs(verbs: Verbs) -> None:
    """Add the verbs list, show, redrive and drop."""
    listing = verbs.add("list", _list, "list dead letters, oldest first")
    _add_filters(listing)
    listing.add_argument(
        "--limit", type=int, default=50, help="maximum number of rows (default: 50)"
    )
    showing = verbs.add("show", _show, "show dead letters completely: attributes, reason, data")
    showing.add_argument("ids", type=int, nargs="+", metavar="ID", help="row number, as listed")
    about = "put dead letters at the end of their keys, with a full number of tries"
    for name, run, text in (
        ("redrive", _redrive, about),
        ("drop", _drop, "delete dead letters permanently"),
    ):
        changing = verbs.add(name, run, text, changes=True)
        changing.add_argument("ids", type=int, nargs="*", metavar="ID", help="row number")
        _add_filters(changing)
        changing.add_argument("--all", action="store_true", help="all dead letters")


def _add_filters(parser: argparse.ArgumentParser) -> None:
    """Add the options that select dead letters."""
    parser.add_argument("--type", help="only this event type: its full name, or its last part")
    parser.add_argument("--reason", help="only reasons that contain this text")
    parser.add_argument("--key", help="only this partition key")
    parser.add_argument("--version", help="only those that this version of the service made")
    parser.add_argument(
        "--older-than",
        type=duration,
        metavar="AGE",
        help="dead for longer than AGE: 90s, 15m, 2h, 7d",
    )
    parser.add_argument("--newer-than", type=duration, metavar="AGE", help="dead for less than AGE")


def _filter(arguments: argparse.Namespace, up_to_id: int | None = None) -> DeadLetterFilter:
    """Return the dead letters that the arguments select."""
    now = time.time()
    older, newer = arguments.older_than, arguments.newer_than
    return DeadLetterFilter(
        ids=getattr(arguments, "ids", ()),
        type=arguments.type,
        reason=arguments.reason,
        key=arguments.key,
        version=arguments.version,
        before=None if older is None else now - older,
        since=None if newer is None else now - newer,
        up_to_id=up_to_id,
    )


async def _list(operator: Operator) -> int:
    """Print the selected dead letters, and how many more there are."""
    limit = operator.arguments.limit
    chosen = _filter(operator.arguments)
    found, groups = await operator.database.read(
        lambda tx: (
            list_dead_letters(tx.session, chosen, limit=limit),
            summarize_dead_letters(tx.session, chosen),
        )
    )
    operator.show([_row(letter) for letter in found])
    more = sum(group.events for group in groups) - len(found)
    if more > 0:
        operator.say(f"and {more} more; --limit shows them")
    if not found and more == 0:
        operator.say("no dead letters match")
    return OK if found else NOTHING


async def _show(operator: Operator) -> int:
    """Print all fields of dead letters."""
    chosen = DeadLetterFilter(ids=operator.arguments.ids)
    limit = len(operator.arguments.ids)
    found = await operator.database.read(
        lambda tx: list_dead_letters(tx.session, chosen, limit=limit)
    )
    missing = sorted(set(operator.arguments.ids) - {letter.id for letter in found})
    operator.show_details([_all_fields(operator, letter) for letter in found])
    if missing:
        operator.say(f"there is no dead letter {', '.join(map(str, missing))}")
    return OK if found else NOTHING


async def _redrive(operator: Operator) -> int:
    """Make tasks of the selected dead letters again."""
    return await _change(operator, redrive_dead_letters)


async def _drop(operator: Operator) -> int:
    """Delete the selected dead letters."""
    return await _change(operator, drop_dead_letters)


async def _change(operator: Operator, change: Callable[[Session, DeadLetterFilter], int]) -> int:
    """Show which dead letters a change affects, and make it if the operator confirms."""
    verb = operator.arguments.verb
    last = await operator.database.read(lambda tx: last_dead_letter(tx.session))
    # The change is limited to the dead letters that exist now, because the operator has not seen
    # later ones.
    chosen = _filter(operator.arguments, up_to_id=last)
    if chosen.is_everything and not operator.arguments.all:
        raise WrongUsage(f"name the dead letters to {verb}: IDs, a filter, or --all")
    groups, keys = await operator.database.read(
        lambda tx: (
            summarize_dead_letters(tx.session, chosen),
            keys_of_dead_letters(tx.session, chosen, limit=_KEYS_SHOWN + 1),
        )
    )

    async def do() -> int:
        while some := await operator.database.transaction(lambda tx: change(tx.session, chosen)):
            operator.changed += some
        return operator.changed

    shown = ", ".join(keys[:_KEYS_SHOWN]) + (", …" if len(keys) > _KEYS_SHOWN else "")
    events = sum(group.events for group in groups)
    rows: list[Row] = [
        {
            "type": group.type,
            "events": group.events,
            "keys": group.keys,
            "oldest": moment(group.oldest),
            "newest": moment(group.newest),
            "reason": group.reason,
        }
        for group in groups
    ]
    if len(rows) > _GROUPS_SHOWN and not operator.arguments.json:
        operator.say(f"the largest {_GROUPS_SHOWN} of {len(rows)} groups:")
        rows = rows[:_GROUPS_SHOWN]
    what = f"{verb} {counted(events, 'dead letter')} (keys: {shown})"
    return await operator.carry_out(what, rows, do, noun="dead letter")


def _row(letter: DeadLetter) -> Row:
    """Return a dead letter as a row of the list."""
    return {
        "id": letter.id,
        "died": moment(letter.died_at),
        "type": letter.type,
        "key": letter.key,
        "event_id": letter.event_id,
        "tries": letter.tries,
        "version": letter.version,
        "reason": letter.reason,
    }


def _all_fields(operator: Operator, letter: DeadLetter) -> Row:
    """Return a dead letter with its headers and its data."""
    return {
        **_row(letter),
        "source": letter.source,
        "subject": letter.subject,
        "headers": json.loads(letter.headers),
        **_data(operator, letter),
    }


def _data(operator: Operator, letter: DeadLetter) -> Row:
    """Return the event's data as fields if the service knows its type, otherwise as bytes."""
    kinds = {s.type: s.message for router in operator.service.events for s in router.subscriptions}
    try:
        received = decode(json.loads(letter.headers), letter.data)
        message = from_data(kinds[letter.type], received.datacontenttype, received.data)
        return {"data": json_format.MessageToDict(message, preserving_proto_field_name=True)}
    except (KeyError, ValueError):
        return {"data_base64": base64.b64encode(letter.data).decode()}
