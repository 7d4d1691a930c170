"""The operator who runs a verb: arguments, database, broker, output and confirmation."""

import asyncio
import getpass
import os
import socket
import sys
import time
from argparse import Namespace
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

import nats.errors
from nats.aio.client import Client

from chassis._wait_notice import WaitNotice
from chassis.credentials import without_credentials
from chassis.database import ConnectionLost, Database, DatabaseDown
from chassis.events.jetstream.connection import connection
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.operator_changes import OperatorChange
from chassis.events.producer.event_factory import EventFactory
from chassis.events.wire import control_subjects
from chassis.exit_codes import FAILED, NOTHING, OK, USAGE
from chassis.operations.command_line.table import Row, as_json, counted, details, notes, table
from chassis.settings import ServiceSettings

if TYPE_CHECKING:
    from chassis.service import Service

__all__ = ["Operator", "Unreachable", "WrongUsage"]

T = TypeVar("T")

_RETRY_SECONDS = 1.0


class Unreachable(Exception):
    """The broker, which this verb needs, is unavailable; the text says why."""


class WrongUsage(Exception):
    """The arguments do not fit together; the text says what is missing."""


class Operator:
    """An operator at a shell who runs one verb on one service.

    `database` is that of the service. The service itself does not run here: there is no relay, no
    reader and no server. `changed` counts the rows of a running change that are committed.
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
        """The beginning of the service's commands, for advice."""
        return f"python -m {self.service.name}"

    @property
    def handled_types(self) -> frozenset[str]:
        """The event types that this version of the service consumes."""
        return frozenset(
            subscription.type
            for router in self.service.events
            for subscription in router.subscriptions
            if subscription.kind != "broadcast"
        )

    @property
    def foreign_streams(self) -> dict[str, str]:
        """The streams of event types from outside the platform, by type."""
        return {
            subscription.type: subscription.foreign.stream
            for router in self.service.events
            for subscription in router.subscriptions
            if subscription.foreign
        }

    @property
    def who(self) -> str:
        """The name of the operator in the log."""
        name: str | None = getattr(self.arguments, "by", None)
        return name or f"{_user()}@{socket.gethostname()}"

    @asynccontextmanager
    async def broker(self) -> AsyncIterator[Client]:
        """Connect to the broker.

        Raises:
            Unreachable: the broker is unavailable.
        """
        url = self.settings.nats_url
        try:
            options = NatsOptions.of(url, self.settings, self.service.name)
            async with connection(options, f"{self.service.name}-operator") as client:
                yield client
        except (OSError, nats.errors.Error, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            raise Unreachable(f"the broker at {url} cannot be reached: {reason}") from error

    async def once_available(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Return what `ask` returns, which is repeated for `--wait` seconds if a verb has it.

        Network policies may refuse the connections of a pod in its first seconds.

        Raises:
            DatabaseDown, ConnectionLost, Unreachable: the database or the broker is unavailable.
        """
        ends_at = time.monotonic() + getattr(self.arguments, "wait", 0.0)
        notice = WaitNotice()
        while True:
            try:
                return await ask()
            except (DatabaseDown, ConnectionLost, Unreachable) as error:
                if time.monotonic() >= ends_at:
                    raise
                notice.print(str(error))
            await asyncio.sleep(_RETRY_SECONDS)

    def show(self, rows: Sequence[Row]) -> None:
        """Print rows as a table with notes, or as JSON."""
        if self.arguments.json:
            print(as_json(rows))
            return
        for text in (table(rows), *notes(rows)):
            if text:
                print(text, flush=True)  # It must come before sentences on stderr.

    def show_details(self, rows: Sequence[Row]) -> None:
        """Print each row as lines of names and values, or all of them as JSON."""
        print(as_json(rows) if self.arguments.json else "\n\n".join(map(details, rows)))

    def say(self, text: str) -> None:
        """Print a sentence for people to stderr; stdout is for scripts."""
        print(without_credentials(text), file=sys.stderr)

    async def carry_out(
        self,
        what: str,
        plan: Sequence[Row],
        do: Callable[[], Awaitable[int]],
        *,
        noun: str = "row",
    ) -> int:
        """Make a change if the operator confirms it; return the exit code.

        `what` describes the change in a phrase, such as "redrive 3 events of 2 keys"; `plan` has
        its details in rows. `do` makes the change and returns how many things, each a `noun`, it
        changed; if it needs several commits it adds to `changed` after each. The change is logged
        here and by running members, which are notified so that they notice it at once.
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
        refusal = _confirm(arguments)
        if refusal is not None:
            return refusal
        try:
            changed = await do()
        except BaseException:
            if self.changed:  # Earlier commits stay in effect.
                await self._record(what, self.changed)
            raise
        await self._record(what, changed)
        if arguments.json:
            self.show(plan)
        self.say(f"done: {counted(changed, noun)}")
        return OK

    async def _record(self, what: str, changed: int) -> None:
        """Log a change, and tell the running members of it."""
        verb = f"{self.arguments.noun} {self.arguments.verb}"
        change = OperatorChange(verb, self.who, what, changed)
        change.log()
        await self._notify_members(change)

    async def _notify_members(self, change: OperatorChange) -> None:
        """Notify running members; without it they find the change in the database, but later."""
        try:
            async with self.broker() as client:
                await client.publish(
                    control_subjects.operator_subject(self.service.name), change.to_json()
                )
                await client.flush(timeout=2)
        except Unreachable as error:
            self.say(f"{error}; running members will notice the change later")


def _confirm(arguments: Namespace) -> int | None:
    """Ask for confirmation; return None if the change is confirmed, otherwise the exit code."""
    if arguments.yes:
        return None
    if not sys.stdin.isatty():
        print("there is no terminal to ask on: give --yes; nothing was changed", file=sys.stderr)
        return USAGE
    print("continue? [y/N] ", end="", file=sys.stderr, flush=True)
    if sys.stdin.readline().strip().lower() in ("y", "yes"):
        return None
    print("nothing was changed", file=sys.stderr)
    return FAILED


def _user() -> str:
    """Return the name of the user who runs the command, for the records."""
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # A container's user may have no name.
        return str(os.getuid())
