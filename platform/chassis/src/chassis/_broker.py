"""`python -m <service> broker apply`: a release makes what the service needs at the broker."""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import nats.errors
from nats.aio.client import Client
from sqlalchemy import func, inspect, select

from chassis.database import (
    ConnectionLost,
    Database,
    DatabaseAtFault,
    DatabaseDown,
    ReadTransaction,
    WrongDatabase,
    identity,
    tables,
)
from chassis.database.engine import database_file, is_sqlite, place_of
from chassis.events.jetstream.api import JetStreamError
from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.jetstream.owned_stream import LaneCountChanged
from chassis.events.producer import outbox
from chassis.events.producer.publisher import Publisher
from chassis.events.release.applying import (
    Applied,
    Known,
    SubjectsHeld,
    apply_members_stream,
    apply_own_stream,
)
from chassis.events.release.permissions import RELEASE
from chassis.events.wire.contracts import event_type, stream_of
from chassis.exit_codes import CONFIGURATION, FAILED, OK, UNAVAILABLE
from chassis.settings import ServiceSettings, without_credentials
from chassis.telemetry import logging

if TYPE_CHECKING:
    from argparse import Namespace

    from chassis.service import Service

__all__ = ["main", "parse"]

_AGAIN_SECONDS = 1.0
_DATABASE_AWAY = (DatabaseDown, ConnectionLost, DatabaseAtFault)
_BROKER_AWAY = (JetStreamError, OSError, nats.errors.Error, TimeoutError)
_CURRENT_SCHEMA = select(func.current_schema())
_ABOUT = """\
Make the service's stream and the stream of its members, or add what they lack. It may be run again
at any time: nothing is deleted, and settings that differ are reported and left as they are."""


def parse(program: str, arguments: Sequence[str]) -> "Namespace":
    """The arguments of `broker apply`.

    Raises:
        SystemExit: they are wrong, or ask for help.
    """
    from chassis.operations.command_line.arguments import ArgumentParser

    parser = ArgumentParser(prog=program, allow_abbrev=False)
    nouns = parser.add_subparsers(dest="noun", metavar="broker", required=True)
    verbs = nouns.add_parser("broker", help="streams at the broker").add_subparsers(
        dest="verb", metavar="apply", required=True
    )
    apply = verbs.add_parser(
        "apply", help="make the streams, or add what they lack", description=_ABOUT
    )
    apply.add_argument(
        "--check",
        action="store_true",
        help="change nothing; exit with 1 if something is missing or differs",
    )
    apply.add_argument(
        "--wait",
        type=float,
        default=30.0,
        metavar="SECONDS",
        help="how long to wait for a database or a broker that is away (default: 30)",
    )
    return parser.parse_args(arguments)


def main(service: "Service", settings: ServiceSettings, arguments: "Namespace") -> int:
    """Apply, and return the exit code."""
    logging.configure(service.name, settings, sys.stderr)
    takes = any(s.kind != "broadcast" for router in service.events for s in router.subscriptions)
    if not (service.publishes or takes):
        print(f"{service.name} needs no stream")
        return OK
    deadline = time.monotonic() + arguments.wait
    url = settings.database_url.get_secret_value()
    try:
        known = _known_in_time(service, settings, deadline)
        applied = asyncio.run(
            _apply_in_time(service, settings, known, deadline, change=not arguments.check)
        )
    except WrongDatabase as error:
        return _refused(str(error), CONFIGURATION)
    except (LaneCountChanged, SubjectsHeld) as error:
        return _refused(str(error), FAILED)
    except _DATABASE_AWAY as error:
        return _refused(
            f"{_why(error, settings)}; nothing was made: apply again when it can, or wait for it "
            "with --wait SECONDS",
            UNAVAILABLE,
        )
    except _BROKER_AWAY as error:
        return _refused(_why(error, settings), UNAVAILABLE)
    _report(applied, check=arguments.check)
    if service.publishes and applied[0].done == "made" and not arguments.check:
        for line in _unsure(applied[0].stream, known, url):
            print(line, file=sys.stderr)
    differs = any(each.done != "unchanged" or each.drift for each in applied)
    return FAILED if arguments.check and differs else OK


async def _apply_in_time(
    service: "Service",
    settings: ServiceSettings,
    known: Known | None,
    deadline: float,
    *,
    change: bool,
) -> list[Applied]:
    """Apply, and try again until the time is up: a broker that has just started is away at first,
    and its JetStream a little longer."""
    waiting = _Waiting()
    while True:
        try:
            options = NatsOptions.of(settings.nats_url, settings, RELEASE)
            async with connection(options, f"{service.name}-broker-apply") as client:
                try:
                    return await _apply(client, service, settings, known, change)
                except TimeoutError as error:  # a broker that denies a request does not answer it
                    raise TimeoutError(str(client.last_error or error) or "no answer") from error
        except _BROKER_AWAY as error:
            for_good = isinstance(error, JetStreamError) and error.code < 500
            if for_good or time.monotonic() > deadline:
                raise
            waiting.say(_why(error, settings))
        await asyncio.sleep(_AGAIN_SECONDS)


async def _apply(
    client: Client,
    service: "Service",
    settings: ServiceSettings,
    known: Known | None,
    change: bool,
) -> list[Applied]:
    applied = []
    if service.publishes:
        stream, types = stream_of(service.name), [event_type(m) for m in service.publishes]
        applied.append(
            await apply_own_stream(client, stream, types, settings, known, change=change)
        )
    applied.append(await apply_members_stream(client, settings.stream_replicas, change=change))
    return applied


def _report(applied: Sequence[Applied], *, check: bool) -> None:
    width = max(len(each.stream) for each in applied)
    for each in applied:
        made = {"made": "missing", "extended": "lacks"} if check else {}
        done = " ".join([made.get(each.done, each.done), *each.what])
        print(f"stream {each.stream:<{width}}  {done}")
        for line in each.drift:
            print(f"warning: stream {each.stream}: {line}", file=sys.stderr)


def _unsure(stream: str, known: Known | None, url: str) -> Iterator[str]:
    """Yield a warning or a note if the database could not say how far events had been sent."""
    if known is None:
        yield (
            "warning: no database could be asked how far events had been sent before; "
            "a new consumer of this stream takes any number as the first"
        )
    elif known.no_tables:
        yield (
            f"note: the database {place_of(url)} has no tables yet: stream {stream} says that "
            "nothing was sent before it"
        )


def _known_in_time(service: "Service", settings: ServiceSettings, deadline: float) -> Known | None:
    """What the service's database knows; None if there is none that could know. It is asked until
    it answers or the time is up: a stream that is made without its answer would never say how far
    events had been sent.

    Raises:
        WrongDatabase: it is another service's.
        DatabaseDown, ConnectionLost, DatabaseAtFault: it does not answer, or cannot say.
    """
    url = settings.database_url.get_secret_value()
    if not service.publishes or not url:
        return None
    if is_sqlite(url) and not database_file(url).exists():
        # A file that was named and is not there yet has sent nothing; a default says nothing.
        named = "database_url" in settings.model_fields_set
        return Known(0, frozenset(), no_tables=True) if named else None
    waiting = _Waiting()
    while True:
        try:
            return _known(service.name, url)
        except _DATABASE_AWAY as error:
            if time.monotonic() > deadline:
                raise
            waiting.say(_why(error, settings))
        time.sleep(_AGAIN_SECONDS)


def _known(service: str, url: str) -> Known:
    database = Database(url, Publisher(service), threads=1, read_threads=1)
    try:
        return asyncio.run(database.read(lambda tx: _read(tx, service)))
    finally:
        database.close()


def _read(tx: ReadTransaction, service: str) -> Known:
    connection = tx.session.connection()
    if not inspect(connection).has_table(tables.outbox.name):
        if not is_sqlite(connection.engine.url) and connection.scalar(_CURRENT_SCHEMA) is None:
            raise DatabaseAtFault("no schema of its search_path may be used")
        return Known(0, frozenset(), no_tables=True)
    identity.check(connection, service)
    return Known(outbox.sent_rank(tx.session), frozenset(outbox.types(tx.session)))


class _Waiting:
    """Says what is waited for, each time that it is another."""

    def __init__(self) -> None:
        self._said = ""

    def say(self, why: str) -> None:
        if why != self._said:
            print(without_credentials(f"waiting: {why}"), file=sys.stderr, flush=True)
        self._said = why


def _why(error: Exception, settings: ServiceSettings) -> str:
    """What a database or a broker that is away has said, and which one it is."""
    if isinstance(error, _DATABASE_AWAY):
        place = place_of(settings.database_url.get_secret_value())
        return f"the database {place} cannot say how far events were sent: {error}"
    if isinstance(error, JetStreamError):
        return f"the broker refused: {error}"
    reason = str(error) or type(error).__name__
    if "permissions violation" in reason.lower():
        needed = "this takes the key of the release (APP_NATS_NKEY_SEED_FILE)"
        return f"the broker refused: {reason}; {needed}"
    return f"the broker at {settings.nats_url} cannot be reached: {reason}"


def _refused(line: str, code: int) -> int:
    print(without_credentials(line), file=sys.stderr)
    return code
