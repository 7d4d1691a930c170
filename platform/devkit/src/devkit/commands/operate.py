"""`slipway dead-letters`, `slipway events`, `slipway outbox`: one command for all services.

Each runs `python -m <service> … --json` of every running service and merges the answers.
"""

import json
import os
import subprocess
import sys
from argparse import Namespace
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Annotated, Any

import typer

from devkit.errors import DevkitError, WrongUsage
from devkit.services import read_services
from devkit.state import PlatformState, read_state
from devkit.workspace import Workspace, find_workspace

__all__ = ["dead_letters", "events", "outbox"]

_TIMEOUT_SECONDS = 60
_NOTE = (
    "--service NAME selects one of the running services; the default is all of them."
    " IDs, and verbs that change what one service consumes, need it."
)
_Service = Annotated[str | None, typer.Option("--service", help="A service. Default: all.")]


def dead_letters(context: typer.Context, service: _Service = None) -> None:
    """Operate on dead letters, events that no handler could process: list, show, redrive, drop;
    --service NAME selects one service.
    """
    _operate("dead-letters", context.args, service)


def events(context: typer.Context, service: _Service = None) -> None:
    """Operate on consumed events: status, lag, pause, resume, skip, start-over, retire, record,
    shadow;
    --service NAME selects one service.
    """
    _operate("events", context.args, service)


def outbox(context: typer.Context, service: _Service = None) -> None:
    """Operate on events to be published: status, refused, resend, drop;
    --service NAME selects one service.
    """
    _operate("outbox", context.args, service)


@dataclass
class _Answer:
    """The output of a service's command, and its exit code."""

    service: str
    code: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    messages: str = ""


def _operate(noun: str, arguments: list[str], service: str | None) -> None:
    """Run an operator's command in one service or in all of the running platform."""
    from chassis.operations.command_line import parse

    asked = parse("slipway", [noun, *arguments], _NOTE)
    workspace = find_workspace()
    platform = _Platform(workspace, _running_platform(workspace))
    if service is not None:
        platform.check(service)
        raise typer.Exit(platform.run_on_terminal(service, [noun, *arguments]))
    if (reason := _needs_one_service(asked)) is not None:
        raise WrongUsage(f"{reason}: select it by --service NAME ({platform.names})")
    plain = [a for a in [noun, *arguments] if a not in ("--json", "--yes", "--dry-run")]
    if hasattr(asked, "dry_run"):
        raise typer.Exit(_change(platform, asked, plain))
    answers = platform.run_quietly([*plain, "--json"])
    raise typer.Exit(_print_answers(asked, answers))


def _needs_one_service(asked: Namespace) -> str | None:
    """Return why a verb needs --service; None if it works on all services."""
    if getattr(asked, "ids", None):
        return "IDs are those of one service"
    if asked.noun == "events" and (hasattr(asked, "dry_run") or not hasattr(asked, "json")):
        return f"`events {asked.verb}` is about one service"
    return None


def _change(platform: "_Platform", asked: Namespace, plain: list[str]) -> int:
    """Show what a command would change in all services, and change it if the user confirms."""
    from chassis.exit_codes import FAILED, OK, USAGE

    plans = platform.run_quietly([*plain, "--dry-run", "--json"])
    code = _print_answers(asked, plans) if asked.dry_run or not asked.json else OK
    affected = [plan.service for plan in plans if plan.rows]
    if asked.dry_run or not affected:
        return code
    if not asked.yes:
        if not sys.stdin.isatty():
            print(
                "nothing was changed: confirm with --yes, as there is no terminal", file=sys.stderr
            )
            return USAGE
        if not typer.confirm(f"{asked.verb} in {', '.join(affected)}?", err=True):
            return FAILED
    done = platform.run_quietly([*plain, "--yes", "--json"], affected)
    return _print_answers(asked, done) if asked.json else _print_messages(done)


def _print_answers(asked: Namespace, answers: Sequence[_Answer]) -> int:
    """Print one table of all rows, then the messages; return the exit code."""
    from chassis.operations.command_line.table import as_json, notes, table

    rows = [{"service": answer.service, **row} for answer in answers for row in answer.rows]
    if asked.json:
        print(as_json(rows))
    else:
        for text in (table(rows), *notes(rows)):
            if text:
                print(text, flush=True)
    if not hasattr(asked, "dry_run"):
        answers = _without_messages_of_no_rows(answers)
    return _print_messages(answers)


def _without_messages_of_no_rows(answers: Sequence[_Answer]) -> Sequence[_Answer]:
    """Drop each message that a service has no rows, if another service has rows.

    That message is the last line of the answer; warnings before it stay.
    """
    from chassis.exit_codes import NOTHING

    if not any(answer.rows for answer in answers):
        return answers
    return [
        replace(answer, messages="\n".join(answer.messages.splitlines()[:-1]))
        if answer.code == NOTHING
        else answer
        for answer in answers
    ]


def _print_messages(answers: Sequence[_Answer]) -> int:
    """Print the services' messages to standard error; return the highest of their exit codes."""
    from chassis.exit_codes import NOTHING, OK

    for answer in answers:
        for line in answer.messages.splitlines():
            if not line.startswith("{"):  # A line of JSON belongs to the service's log.
                print(
                    f"{answer.service}: {line.removeprefix(f'{answer.service}: ')}", file=sys.stderr
                )
    codes = {answer.code for answer in answers}
    failed = codes - {OK, NOTHING}
    if failed:
        return max(failed)
    return OK if OK in codes else NOTHING


class _Platform:
    """The running services that have a database, and their commands."""

    def __init__(self, workspace: Workspace, state: PlatformState) -> None:
        self._root = workspace.root
        self._definitions = read_services(workspace)
        self._packages = {d.name: d.package for d in self._definitions if d.has_database}
        self._environments = {
            service.service: service.environment
            for service in reversed(state.services)
            if service.service in self._packages
        }

    @property
    def names(self) -> str:
        """The names of these services, for a message."""
        return ", ".join(sorted(self._environments)) or "none"

    def check(self, service: str) -> None:
        """Raise WrongUsage for a service that does not run here, or has no database."""
        if service in self._environments:
            return
        if service in self._packages:
            cause = f"{service} does not run here"
        elif service in {definition.name for definition in self._definitions}:
            cause = f"{service} has no database, so it keeps no events"
        else:
            cause = f"there is no service {service}"
        raise WrongUsage(f"{cause}; there are: {self.names}")

    def run_on_terminal(self, service: str, arguments: list[str]) -> int:
        """Run a service's command on this terminal and return its exit code."""
        return subprocess.run(
            self._command(service, arguments), env=self._environment(service), cwd=self._root
        ).returncode

    def run_quietly(
        self, arguments: list[str], services: Sequence[str] | None = None
    ) -> list[_Answer]:
        """Run the command of these services, by default of all; return the answers by name."""
        names = sorted(self._environments if services is None else services)
        with ThreadPoolExecutor(max_workers=len(names) or 1) as pool:
            return list(pool.map(lambda service: self._run_quietly(service, arguments), names))

    def _run_quietly(self, service: str, arguments: list[str]) -> _Answer:
        """Run a command of a service; return its parsed output."""
        from chassis.exit_codes import FAILED, UNAVAILABLE

        try:
            done = subprocess.run(
                self._command(service, arguments),
                env=self._environment(service),
                cwd=self._root,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_TIMEOUT_SECONDS,
            )
        except subprocess.TimeoutExpired:
            message = f"no answer within {_TIMEOUT_SECONDS} s"
            return _Answer(service, UNAVAILABLE, messages=message)
        try:
            rows = json.loads(done.stdout) if done.stdout else []
        except ValueError:
            return _Answer(service, done.returncode or FAILED, messages=done.stderr or done.stdout)
        return _Answer(service, done.returncode, rows, done.stderr)

    def _command(self, service: str, arguments: list[str]) -> list[str]:
        return [sys.executable, "-m", self._packages[service], *arguments]

    def _environment(self, service: str) -> dict[str, str]:
        return os.environ | {"APP_LOG_FORMAT": "json"} | self._environments[service]


def _running_platform(workspace: Workspace) -> PlatformState:
    state = read_state(workspace.state)
    if state is None or not state.alive:
        raise DevkitError("nothing runs; `slipway run` starts the platform")
    return state
