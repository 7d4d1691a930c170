"""What a verb works with: the service's database and broker, and who asked for it."""

import getpass
import os
import socket
import sys
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import nats.errors
from nats.aio.client import Client

from chassis.credentials import without_credentials
from chassis.database import Database
from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.operator_changes import OperatorChange
from chassis.events.producer.event_factory import EventFactory
from chassis.events.wire import transport
from chassis.exit_codes import FAILED, NOTHING, OK, USAGE
from chassis.operations.command_line.table import Row, as_json, counted, details, notes, table
from chassis.settings import ServiceSettings

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["Operator", "Unreachable", "WrongUsage"]


class Unreachable(Exception):
    """The broker, which this verb needs, is away; the text says so."""


class WrongUsage(Exception):
    """The arguments do not go together; the text says what is missing."""


class Operator:
    """Somebody at a shell who asks one thing of one service.

    `database` is the service's own. Nothing of the service runs: no relay, no reader, no server.
    `changed` counts what is changed for good, while a change goes on.
    """

    def __init__(self, service: "Service", settings: ServiceSettings, arguments: Namespace) -> None:
        self.service = service
        self.settings = settings
        self.arguments = arguments
        self.changed = 0
        url = settings.database_url.get_secret_value()
        self.database = Database(url, EventFactory(service.name), threads=1, read_threads=1)

    @property
    def command(self) -> str:
        """How the service's own commands begin, to be shown in advice."""
        return f"python -m {self.service.name}"

    @property
    def handled_types(self) -> frozenset[str]:
        """The event types that this version of the service takes in."""
        return frozenset(
            subscription.type
            for router in self.service.events
            for subscription in router.subscriptions
            if subscription.kind != "broadcast"
        )

    @property
    def foreign_streams(self) -> dict[str, str]:
        """The streams of those that come from outside the platform."""
        return {
            subscription.type: subscription.foreign.stream
            for router in self.service.events
            for subscription in router.subscriptions
            if subscription.foreign
        }

    @property
    def who(self) -> str:
        """Whom the log names."""
        named: str | None = getattr(self.arguments, "by", None)
        return named or f"{_user()}@{socket.gethostname()}"

    @asynccontextmanager
    async def broker(self) -> AsyncIterator[Client]:
        """A connection to the broker.

        Raises:
            Unreachable: there is none to be had.
        """
        url = self.settings.nats_url
        try:
            options = NatsOptions.of(url, self.settings, self.service.name)
            async with connection(options, f"{self.service.name}-operator") as client:
                yield client
        except (OSError, nats.errors.Error, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(f"the broker at {url} cannot be reached: {reason}") from error

    # --- saying ---------------------------------------------------------------------------------

    def show(self, rows: Sequence[Row]) -> None:
        """Print rows: a table and the notes on it, or JSON."""
        if self.arguments.json:
            print(as_json(rows))
            return
        for text in (table(rows), *notes(rows)):
            if text:
                print(text, flush=True)  # before what is said about it

    def show_details(self, rows: Sequence[Row]) -> None:
        """Print each row as lines of names and values, or all of them as JSON."""
        print(as_json(rows) if self.arguments.json else "\n\n".join(map(details, rows)))

    def say(self, text: str) -> None:
        """A sentence for people, beside what is printed for scripts."""
        print(without_credentials(text), file=sys.stderr)

    # --- changing -------------------------------------------------------------------------------

    async def carry_out(
        self,
        what: str,
        plan: Sequence[Row],
        do: Callable[[], Awaitable[int]],
        *,
        noun: str = "row",
    ) -> int:
        """Change something, as far as the one who asks for it agrees; returns the exit code.

        `what` says it in a sentence, as "redrive 3 events of 2 keys"; `plan` are the rows that
        tell it in detail. `do` does it and returns how much was changed; in several commits it adds
        to `changed` after each. `noun` names one of what is counted. The change is logged here and
        by the members that run, which are told to look at once.
        """
        arguments = self.arguments
        if not plan:
            self.show([])
            self.say("nothing matches; nothing was changed")
            return NOTHING
        if not arguments.json:
            self.show(plan)
        self.say(f"{self.service.name}: {what}")
        if arguments.dry_run:
            if arguments.json:
                self.show(plan)
            self.say("dry run: nothing was changed")
            return OK
        refused = _not_agreed(arguments)
        if refused is not None:
            return refused
        try:
            changed = await do()
        except BaseException:
            if self.changed:  # the commits before this one stay
                await self._record(what, self.changed)
            raise
        await self._record(what, changed)
        if arguments.json:
            self.show(plan)
        self.say(f"done: {counted(changed, noun)}")
        return OK

    async def _record(self, what: str, changed: int) -> None:
        verb = f"{self.arguments.noun} {self.arguments.verb}"
        change = OperatorChange(verb, self.who, what, changed)
        change.log()
        await self._tell_members(change)

    async def _tell_members(self, change: OperatorChange) -> None:
        """A hint. What was changed is in the database, where they find it by themselves too."""
        try:
            async with self.broker() as client:
                await client.publish(
                    transport.operator_subject(self.service.name), change.to_json()
                )
                await client.flush(timeout=2)
        except Unreachable as error:
            self.say(f"{error}; running members notice the change by themselves, but later")


def _not_agreed(arguments: Namespace) -> int | None:
    """The exit code of a change that is not to be made; None if it is."""
    if arguments.yes:
        return None
    if not sys.stdin.isatty():
        print("there is no terminal to ask on: give --yes; nothing was changed", file=sys.stderr)
        return USAGE
    print("go on? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return None
    print("nothing was changed", file=sys.stderr)
    return FAILED


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container's user has no name
        return str(os.getuid())
