"""`slipway dead-letters`, `slipway events`, `slipway outbox`: the verbs of every service at once.

Each service answers by its own command, `python -m <service> … --json`.
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

_TIME_OUT = 60
_NOTE = (
    "--service NAME selects one of the running services; without it, all are asked."
    " IDs, and verbs that change what one service consumes, need it."
)
_Service = Annotated[str | None, typer.Option("--service", help="Only this one; all by default.")]


def dead_letters(context: typer.Context, service: _Service = None) -> None:
    """Events nobody could handle, of every service that runs: list, show, redrive, drop;
    --service NAME selects one service.
    """
    _operate("dead-letters", context.args, service)


def events(context: typer.Context, service: _Service = None) -> None:
    """Events that services take in: status, lag, pause, resume, skip, start-over, retire;
    --service NAME selects one service.
    """
    _operate("events", context.args, service)


def outbox(context: typer.Context, service: _Service = None) -> None:
    """Events on their way into the streams: status, refused, resend, drop;
    --service NAME selects one service.
    """
    _operate("outbox", context.args, service)


@dataclass
class _Answer:
    """What a service's own command printed and how it ended."""

    service: str
    code: int
    rows: list[dict[str, Any]] = field(default_factory=list)
    said: str = ""


def _operate(noun: str, arguments: list[str], service: str | None) -> None:
    from chassis.operations.command_line import parse

    asked = parse("slipway", [noun, *arguments], _NOTE)
    workspace = find_workspace()
    platform = _Platform(workspace, _running(workspace))
    if service is not None:
        platform.check(service)
        raise typer.Exit(platform.exec(service, [noun, *arguments]))
    if (of_one := _of_one_service(asked)) is not None:
        raise WrongUsage(f"{of_one}: say which by --service NAME ({platform.names})")
    plain = [a for a in [noun, *arguments] if a not in ("--json", "--yes", "--dry-run")]
    if hasattr(asked, "dry_run"):
        raise typer.Exit(_change(platform, asked, plain))
    answers = platform.ask([*plain, "--json"])
    raise typer.Exit(_show(asked, answers))


def _of_one_service(asked: Namespace) -> str | None:
    """Why a verb is about one service only; None if it may be about all."""
    if getattr(asked, "ids", None):
        return "IDs are those of one service"
    if asked.noun == "events" and hasattr(asked, "dry_run"):
        return f"`events {asked.verb}` is about one service"
    return None


def _change(platform: "_Platform", asked: Namespace, plain: list[str]) -> int:
    from chassis.exit_codes import FAILED, OK, USAGE

    plans = platform.ask([*plain, "--dry-run", "--json"])
    code = _show(asked, plans) if asked.dry_run or not asked.json else OK
    of_them = [plan.service for plan in plans if plan.rows]
    if asked.dry_run or not of_them:
        return code
    if not asked.yes:
        if not sys.stdin.isatty():
            print(
                "there is no terminal to ask on: give --yes; nothing was changed", file=sys.stderr
            )
            return USAGE
        if not typer.confirm(f"{asked.verb} in {', '.join(of_them)}?", err=True):
            return FAILED
    done = platform.ask([*plain, "--yes", "--json"], of_them)
    return _show(asked, done) if asked.json else _said(done)


def _show(asked: Namespace, answers: Sequence[_Answer]) -> int:
    """One table of all, and a line for each service that could not be asked."""
    from chassis.operations.command_line.table import as_json, notes, table

    rows = [{"service": answer.service, **row} for answer in answers for row in answer.rows]
    if asked.json:
        print(as_json(rows))
    else:
        for text in (table(rows), *notes(rows)):
            if text:
                print(text, flush=True)
    return _said(answers if hasattr(asked, "dry_run") else _without_empty(answers))


def _without_empty(answers: Sequence[_Answer]) -> Sequence[_Answer]:
    """The answers, some of which have rows: the others lose their last line, which says that they
    have none. Warnings before it stay."""
    from chassis.exit_codes import NOTHING

    if not any(answer.rows for answer in answers):
        return answers
    return [
        replace(answer, said="\n".join(answer.said.splitlines()[:-1]))
        if answer.code == NOTHING
        else answer
        for answer in answers
    ]


def _said(answers: Sequence[_Answer]) -> int:
    """Print what services said beside their rows; the worst of their exit codes."""
    from chassis.exit_codes import NOTHING, OK

    for answer in answers:
        for line in answer.said.splitlines():
            if not line.startswith("{"):  # its log
                print(
                    f"{answer.service}: {line.removeprefix(f'{answer.service}: ')}", file=sys.stderr
                )
    codes = {answer.code for answer in answers}
    failed = codes - {OK, NOTHING}
    if failed:
        return max(failed)
    return OK if OK in codes else NOTHING


class _Platform:
    """The services that run and have a database, asked by their own commands."""

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
        """The services that can be asked."""
        return ", ".join(sorted(self._environments)) or "none"

    def check(self, service: str) -> None:
        """Raises WrongUsage for a service that does not run here, or has no events."""
        if service in self._environments:
            return
        if service in self._packages:
            cause = f"{service} is not run here"
        elif service in {definition.name for definition in self._definitions}:
            cause = f"{service} has no database, so it keeps no events"
        else:
            cause = f"there is no service {service}"
        raise WrongUsage(f"{cause}; there are: {self.names}")

    def exec(self, service: str, arguments: list[str]) -> int:
        """The service's own command, on this terminal."""
        return subprocess.run(
            self._command(service, arguments), env=self._environment(service), cwd=self._root
        ).returncode

    def ask(self, arguments: list[str], services: Sequence[str] | None = None) -> list[_Answer]:
        """The answers of services, of all by default, in the order of their names."""
        asked = sorted(self._environments if services is None else services)
        with ThreadPoolExecutor(max_workers=len(asked) or 1) as pool:
            return list(pool.map(lambda service: self._ask(service, arguments), asked))

    def _ask(self, service: str, arguments: list[str]) -> _Answer:
        from chassis.exit_codes import FAILED, UNAVAILABLE

        try:
            done = subprocess.run(
                self._command(service, arguments),
                env=self._environment(service),
                cwd=self._root,
                capture_output=True,
                encoding="utf-8",
                errors="replace",
                timeout=_TIME_OUT,
            )
        except subprocess.TimeoutExpired:
            return _Answer(service, UNAVAILABLE, said=f"no answer within {_TIME_OUT} s")
        try:
            rows = json.loads(done.stdout) if done.stdout else []
        except ValueError:
            return _Answer(service, done.returncode or FAILED, said=done.stderr or done.stdout)
        return _Answer(service, done.returncode, rows, done.stderr)

    def _command(self, service: str, arguments: list[str]) -> list[str]:
        return [sys.executable, "-m", self._packages[service], *arguments]

    def _environment(self, service: str) -> dict[str, str]:
        return os.environ | {"APP_LOG_FORMAT": "json"} | self._environments[service]


def _running(workspace: Workspace) -> PlatformState:
    state = read_state(workspace.state)
    if state is None or not state.alive:
        raise DevkitError("nothing runs; `slipway run` starts the platform")
    return state
