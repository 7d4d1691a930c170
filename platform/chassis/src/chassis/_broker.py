"""`python -m <service> broker apply`: a release makes what the service needs at the broker."""

import asyncio
import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

import nats.errors
from nats.aio.client import Client
from sqlalchemy import inspect
from sqlalchemy.exc import SQLAlchemyError

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
from chassis.database.engine import database_file, is_sqlite
from chassis.events import outbox
from chassis.events.applying import (
    Applied,
    Known,
    SubjectsHeld,
    apply_members_stream,
    apply_own_stream,
)
from chassis.events.connection import connection
from chassis.events.contracts import event_type, stream_of
from chassis.events.nats_options import NatsOptions
from chassis.events.owned_stream import LaneCountChanged
from chassis.events.permissions import RELEASE
from chassis.events.publisher import Publisher
from chassis.events.streams import JetStreamError
from chassis.exit_codes import CONFIGURATION, FAILED, OK, UNAVAILABLE
from chassis.settings import ServiceSettings, without_credentials
from chassis.telemetry import logging

if TYPE_CHECKING:
    from argparse import Namespace

    from chassis.service import Service

__all__ = ["main", "parse"]

_AGAIN_SECONDS = 1.0
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
        help="how long to wait for a broker that is away (default: 30)",
    )
    return parser.parse_args(arguments)


def main(service: "Service", settings: ServiceSettings, arguments: "Namespace") -> int:
    """Apply, and return the exit code."""
    logging.configure(service.name, settings, sys.stderr)
    takes = any(s.kind != "broadcast" for router in service.events for s in router.subscriptions)
    if not (service.publishes or takes):
        print(f"{service.name} needs no stream")
        return OK
    try:
        known = _known(service, settings)
        applied = asyncio.run(_apply_in_time(service, settings, known, arguments))
    except WrongDatabase as error:
        return _refused(str(error), CONFIGURATION)
    except (LaneCountChanged, SubjectsHeld) as error:
        return _refused(str(error), FAILED)
    except JetStreamError as error:
        return _refused(f"the broker refused: {error}", UNAVAILABLE)
    except (OSError, nats.errors.Error, TimeoutError) as error:
        reason = str(error) or type(error).__name__
        if "permissions violation" in reason.lower():
            needed = "this takes the key of the release (APP_NATS_NKEY_SEED_FILE)"
            return _refused(f"the broker refused: {reason}; {needed}", UNAVAILABLE)
        url = settings.nats_url
        return _refused(f"the broker at {url} cannot be reached: {reason}", UNAVAILABLE)
    return _report(applied, known, check=arguments.check)


async def _apply_in_time(
    service: "Service", settings: ServiceSettings, known: Known | None, arguments: "Namespace"
) -> list[Applied]:
    """Apply, and try again until the time is up: a broker that has just started is away at first,
    and its JetStream a little longer."""
    deadline = time.monotonic() + arguments.wait
    while True:
        try:
            options = NatsOptions.of(settings.nats_url, settings, RELEASE)
            async with connection(options, f"{service.name}-broker-apply") as client:
                try:
                    return await _apply(client, service, settings, known, not arguments.check)
                except TimeoutError as error:  # a broker that denies a request does not answer it
                    raise TimeoutError(str(client.last_error or error) or "no answer") from error
        except (JetStreamError, OSError, nats.errors.Error, TimeoutError) as error:
            for_good = isinstance(error, JetStreamError) and error.code < 500
            if for_good or time.monotonic() > deadline:
                raise
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


def _report(applied: Sequence[Applied], known: Known | None, *, check: bool) -> int:
    width = max(len(each.stream) for each in applied)
    for each in applied:
        made = {"made": "missing", "extended": "lacks"} if check else {}
        done = " ".join([made.get(each.done, each.done), *each.what])
        print(f"stream {each.stream:<{width}}  {done}")
        for line in each.drift:
            print(f"warning: stream {each.stream}: {line}", file=sys.stderr)
    if known is None and applied[0].done == "made" and not check:
        print(
            "warning: no database could be asked how far events had been sent before; "
            "a new consumer of this stream takes any number as the first",
            file=sys.stderr,
        )
    differs = any(each.done != "unchanged" or each.drift for each in applied)
    return FAILED if check and differs else OK


def _known(service: "Service", settings: ServiceSettings) -> Known | None:
    """What the service's database knows; None if there is none that can be asked.

    Raises:
        WrongDatabase: it is another service's.
    """
    url = settings.database_url.get_secret_value()
    named = "database_url" in settings.model_fields_set
    if not url or (is_sqlite(url) and not database_file(url).exists()):
        # A file that was named and is not there yet has sent nothing; a default says nothing.
        return Known(0, frozenset()) if url and named else None
    database = Database(url, Publisher(service.name), threads=1, read_threads=1)
    try:
        return asyncio.run(database.read(lambda tx: _read(tx, service.name)))
    except (DatabaseDown, ConnectionLost, DatabaseAtFault, SQLAlchemyError):
        return None
    finally:
        database.close()


def _read(tx: ReadTransaction, service: str) -> Known:
    connection = tx.session.connection()
    if not inspect(connection).has_table(tables.outbox.name):
        return Known(0, frozenset())
    identity.check(connection, service)
    return Known(outbox.sent_rank(tx.session), frozenset(outbox.types(tx.session)))


def _refused(line: str, code: int) -> int:
    print(without_credentials(line), file=sys.stderr)
    return code
