"""The operator's command line, run in the test's process with its output captured."""

import asyncio
import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from unittest import mock

import structlog
from bookshop import accountant
from google.protobuf.message import Message

from chassis import EventRouter, Service, ServiceSettings
from chassis._commands import main

__all__ = ["Ran", "Shell"]


@dataclass(frozen=True)
class Ran:
    """The exit code and the output of a command, without its log."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The rows that the command printed with --json."""
        found: list[dict[str, Any]] = json.loads(self.out)
        return found


class Shell:
    """A shell with the service's database and broker in its environment."""

    def __init__(
        self,
        service: str,
        database_url: str,
        nats_url: str = "nats://127.0.0.1:1",
        *,
        router: EventRouter | None = None,
        publishes: Sequence[type[Message]] = (),
        defined: Service | None = None,
        variables: Mapping[str, str] = {},
    ) -> None:
        events = [router or accountant()]
        self.service = defined or Service(
            service, settings=ServiceSettings, events=events, publishes=publishes
        )
        self._variables = {
            "APP_DATABASE_URL": database_url,
            "APP_NATS_URL": nats_url,
            "APP_LOG_FORMAT": "json",
            **variables,
        }

    async def run(self, *arguments: str, answer: str | None = None) -> Ran:
        """Run a command; `answer` is typed on a terminal, without it there is no terminal."""
        return await asyncio.to_thread(self.type, *arguments, answer=answer)

    def type(self, *arguments: str, answer: str | None = None) -> Ran:
        """Run a command on this thread, which must have no running event loop."""
        out, err = io.StringIO(), io.StringIO()
        stdin = _Terminal(answer) if answer is not None else io.StringIO()
        with (
            mock.patch.dict(os.environ, self._variables),
            mock.patch.object(sys, "stdin", stdin),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch("chassis.telemetry.logging.configure"),
            _log_to_test_output(),
        ):
            try:
                code = main(self.service, list(arguments))
            except SystemExit as end:
                # The parser of the command line raises it.
                code = int(end.code or 0)
        return Ran(code, out.getvalue(), err.getvalue())


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def _log_to_test_output() -> Iterator[None]:
    """Send log lines, also those of running members, to the output of the test."""
    before = structlog.get_config()["logger_factory"]
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stdout__))
    try:
        yield
    finally:
        structlog.configure(logger_factory=before)
