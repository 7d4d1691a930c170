"""`python -m <service> broker apply`: create or extend what the service needs at the broker."""

import asyncio
import sys
import time
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import nats.errors
from nats.aio.client import Client

from chassis._outbox_summary import DATABASE_ERRORS, database_reason, read_outbox_summary
from chassis._wait_notice import WaitNotice
from chassis.credentials import without_credentials
from chassis.database import WrongDatabase
from chassis.database.engine import place_of
from chassis.events.jetstream.api import JetStreamError
from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.jetstream.owned_stream import LaneCountChanged
from chassis.events.release.applying import (
    Applied,
    OutboxSummary,
    SubjectsHeld,
    apply_members_stream,
    apply_own_stream,
)
from chassis.events.release.permissions import RELEASE
from chassis.events.wire.contracts import event_type, stream_of
from chassis.exit_codes import CONFIGURATION, FAILED, OK, UNAVAILABLE
from chassis.settings import ServiceSettings
from chassis.telemetry import logging

if TYPE_CHECKING:
    from argparse import Namespace

    from chassis.service import Service

__all__ = ["main", "parse"]

_RETRY_SECONDS = 1.0
_BROKER_ERRORS = (JetStreamError, OSError, nats.errors.Error, TimeoutError)
_ABOUT = """\
Create the service's stream and the stream of its members, or add what they lack. The command can be
run again at any time: it deletes nothing, and only reports settings that differ."""


def parse(program: str, arguments: Sequence[str]) -> "Namespace":
    """Return the arguments of `broker apply`.

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
        "apply", help="create the streams, or add what they lack", description=_ABOUT
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
        help="how long to wait for an unavailable database or broker (default: 30)",
    )
    return parser.parse_args(arguments)


def main(service: "Service", settings: ServiceSettings, arguments: "Namespace") -> int:
    """Run `broker apply` and return the exit code."""
    logging.configure(service.name, settings, sys.stderr)
    reads = any(s.kind != "broadcast" for router in service.events for s in router.subscriptions)
    if not (service.publishes or reads):
        print(f"{service.name} needs no stream")
        return OK
    ends_at = time.monotonic() + arguments.wait
    url = settings.database_url.get_secret_value()
    try:
        outbox = read_outbox_summary(service, settings, ends_at)
        applied = asyncio.run(
            _apply_with_retries(service, settings, outbox, ends_at, change=not arguments.check)
        )
    except WrongDatabase as error:
        return _refused(str(error), CONFIGURATION)
    except (LaneCountChanged, SubjectsHeld) as error:
        return _refused(str(error), FAILED)
    except DATABASE_ERRORS as error:
        return _refused(
            f"{database_reason(error, url)}; nothing was created: run the command "
            "again when the database is available, or wait for it with --wait SECONDS",
            UNAVAILABLE,
        )
    except _BROKER_ERRORS as error:
        return _refused(_broker_reason(error, settings), UNAVAILABLE)
    _report(applied, check=arguments.check)
    if service.publishes and applied[0].done == "made" and not arguments.check:
        for line in _notes_on_summary(applied[0].stream, outbox, url):
            print(line, file=sys.stderr)
    differs = any(each.done != "unchanged" or each.drift for each in applied)
    return FAILED if arguments.check and differs else OK


async def _apply_with_retries(
    service: "Service",
    settings: ServiceSettings,
    outbox: OutboxSummary | None,
    ends_at: float,
    *,
    change: bool,
) -> list[Applied]:
    """Apply; if the broker is unavailable, retry until `ends_at` on the monotonic clock.

    A broker that has just started answers before its JetStream does.
    """
    notice = WaitNotice()
    while True:
        try:
            options = NatsOptions.of(settings.nats_url, settings, RELEASE)
            async with connection(options, f"{service.name}-broker-apply") as client:
                try:
                    return await _apply(client, service, settings, outbox, change)
                except TimeoutError as error:
                    # The broker sends no answer to a request that it denies, but an error to the
                    # connection.
                    raise TimeoutError(str(client.last_error or error) or "no answer") from error
        except _BROKER_ERRORS as error:
            permanent = isinstance(error, JetStreamError) and error.code < 500
            if permanent or time.monotonic() > ends_at:
                raise
            notice.print(_broker_reason(error, settings))
        await asyncio.sleep(_RETRY_SECONDS)


async def _apply(
    client: Client,
    service: "Service",
    settings: ServiceSettings,
    outbox: OutboxSummary | None,
    change: bool,
) -> list[Applied]:
    """Create or extend the service's stream and the stream of members; only check them if not
    `change`."""
    applied = []
    if service.publishes:
        stream, types = stream_of(service.name), [event_type(m) for m in service.publishes]
        applied.append(
            await apply_own_stream(client, stream, types, settings, outbox, change=change)
        )
    applied.append(await apply_members_stream(client, settings.stream_replicas, change=change))
    return applied


def _report(applied: Sequence[Applied], *, check: bool) -> None:
    """Print a line per stream on standard output, and a warning per setting that differs."""
    width = max(len(each.stream) for each in applied)
    for each in applied:
        proposed = {"made": "missing", "extended": "lacks"} if check else {}
        done = " ".join([proposed.get(each.done, each.done), *each.what])
        print(f"stream {each.stream:<{width}}  {done}")
        for line in each.drift:
            print(f"warning: stream {each.stream}: {line}", file=sys.stderr)


def _notes_on_summary(stream: str, outbox: OutboxSummary | None, url: str) -> Iterator[str]:
    """Yield a warning or a note if the database could not say how far events had been sent."""
    if outbox is None:
        yield (
            "warning: no database could be asked how far events had been sent before; "
            "a new consumer of this stream accepts any number as the first"
        )
    elif outbox.no_tables:
        yield (
            f"note: the database {place_of(url)} has no tables yet: stream {stream} says that "
            "nothing was sent before it"
        )


def _broker_reason(error: Exception, settings: ServiceSettings) -> str:
    """Return a line that names the broker and what it said."""
    if isinstance(error, JetStreamError):
        return f"the broker refused: {error}"
    reason = str(error) or type(error).__name__
    if "permissions violation" in reason.lower():
        needed = "this takes the key of the release (APP_NATS_NKEY_SEED_FILE)"
        return f"the broker refused: {reason}; {needed}"
    return f"the broker at {settings.nats_url} cannot be reached: {reason}"


def _refused(line: str, code: int) -> int:
    """Print a line on standard error and return the exit code."""
    print(without_credentials(line), file=sys.stderr)
    return code
