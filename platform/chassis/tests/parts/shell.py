"""The operator's command line, as it is typed: in this process, with what it prints."""

import asyncio
import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator, Sequence
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
    """How a command ended, and what it printed, but for what it logged."""

    code: int
    out: str
    err: str

    @property
    def rows(self) -> list[dict[str, Any]]:
        """What it printed with --json."""
        found: list[dict[str, Any]] = json.loads(self.out)
        return found


class Shell:
    """`python -m <service> …` where the service's database and broker are."""

    def __init__(
        self,
        service: str,
        database_url: str,
        nats_url: str = "nats://127.0.0.1:1",
        *,
        router: EventRouter | None = None,  # by default the accountant's handlers
        publishes: Sequence[type[Message]] = (),
    ) -> None:
        events = [router or accountant()]
        self.service = Service(
            service, settings=ServiceSettings, events=events, publishes=publishes
        )
        self._variables = {
            "APP_DATABASE_URL": database_url,
            "APP_NATS_URL": nats_url,
            "APP_LOG_FORMAT": "json",
        }

    async def run(self, *arguments: str, answer: str | None = None) -> Ran:
        """Type it, and what is answered on the terminal; without one there is no terminal."""
        return await asyncio.to_thread(self.type, *arguments, answer=answer)

    def type(self, *arguments: str, answer: str | None = None) -> Ran:
        """`run`, on this thread, on which no event loop runs."""
        out, err = io.StringIO(), io.StringIO()
        stdin = _Terminal(answer) if answer is not None else io.StringIO()
        with (
            mock.patch.dict(os.environ, self._variables),
            mock.patch.object(sys, "stdin", stdin),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(err),
            mock.patch("chassis.telemetry.logging.configure"),
            _log_apart(),
        ):
            try:
                code = main(self.service, list(arguments))
            except SystemExit as end:  # argparse ends so
                code = int(end.code or 0)
        return Ran(code, out.getvalue(), err.getvalue())


class _Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@contextlib.contextmanager
def _log_apart() -> Iterator[None]:
    """What is logged meanwhile, by members too, goes where the test's own log goes."""
    before = structlog.get_config()["logger_factory"]
    structlog.configure(logger_factory=structlog.PrintLoggerFactory(sys.__stdout__))
    try:
        yield
    finally:
        structlog.configure(logger_factory=before)
