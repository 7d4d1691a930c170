"""The operator's commands over all services of the running platform."""

import asyncio
import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from io import StringIO
from pathlib import Path

import psutil
import pytest
from forked_python import run_module
from rich.console import Console

from chassis.exit_codes import NOTHING, OK, UNAVAILABLE, USAGE
from chassis.operations.command_line import NOUNS
from devkit.commands.ps import state_table
from devkit.doctor import check_events
from devkit.state import PlatformState, ServiceState, read_state, write_state
from devkit.workspace import Workspace
from localservers import free_port

Write = Callable[[str, str], Path]

# A service that answers commands as the chassis does, and records them.
_ANSWERS = """
import json, os, sys
if sys.argv[1:]:
    with open(os.environ["APP_ASKED"], "a") as asked:
        asked.write(" ".join(["{name}", *sys.argv[1:]]) + "\\n")
    {answer}
    sys.exit({code})
"""


class Running:
    """A platform of services that answer commands; their processes do not run."""

    def __init__(self, workspace: Workspace, write: Write) -> None:
        self.workspace = workspace
        self._write = write
        self._asked = workspace.root / "asked.txt"
        self._services: list[str] = []

    def add(self, name: str, rows: object = None, *, code: int = OK, said: str = "") -> None:
        main = self.workspace.root / f"services/{name}/src/{name}/__main__.py"
        answer = f"print({json.dumps(json.dumps(rows))})" if rows is not None else "pass"
        answer += f"; print({said!r}, file=sys.stderr)" if said else ""
        text = _ANSWERS.format(name=name, answer=answer, code=code)
        main.write_text(text + main.read_text(encoding="utf-8"), encoding="utf-8")
        self._services.append(name)

    def write_state(self, http_port: int = 1) -> None:
        self.workspace.state.mkdir(exist_ok=True)
        services = [
            ServiceState(name, name, 0, 1, http_port, None, 0, "", {"APP_ASKED": str(self._asked)})
            for name in self._services
        ]
        state = PlatformState(os.getpid(), psutil.Process().create_time(), "", [], services)
        write_state(self.workspace.state, state)

    def slipway(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return run_module(
            "devkit", *arguments, environment=self._environment, folder=self.workspace.root
        )

    def on_a_terminal(self, columns: int, *arguments: str) -> str:
        """Return the output on a terminal of this size; 0 columns stand for 0x0."""
        control, terminal = pty.openpty()
        size = struct.pack("HHHH", 24 if columns else 0, columns, 0, 0)
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, size)
        try:
            subprocess.run(
                [sys.executable, "-m", "devkit", *arguments],
                cwd=self.workspace.root,
                env=self._environment | {"COLUMNS": "10"},
                stdin=terminal,
                stdout=terminal,
                stderr=terminal,
                timeout=100,
                check=True,
            )
            return os.read(control, 4000).decode()
        finally:
            os.close(control)
            os.close(terminal)

    @property
    def _environment(self) -> dict[str, str]:
        sources = [str(member.source_root) for member in self.workspace.services]
        return os.environ | {"PYTHONPATH": os.pathsep.join(sources)}

    @property
    def asked(self) -> list[str]:
        """The command lines that all services got, in any order."""
        return sorted(self._asked.read_text(encoding="utf-8").splitlines())


DATABASE = 'database_url: SecretStr = SecretStr("sqlite:///{name}.db")'


@pytest.fixture
def running(workspace: Workspace, write: Write, write_service: Callable[..., None]) -> Running:
    write("pyproject.toml", '[tool.uv.workspace]\nmembers = ["platform/*", "services/*"]\n')
    for name in ("lending", "shelves", "desk"):
        database = "" if name == "desk" else DATABASE.format(name=name)
        write_service(name, http=free_port(), settings=database)
    return Running(Workspace(workspace.root), write)


def letter(number: int) -> dict[str, object]:
    return {"id": number, "type": "library.v1.BookLent", "reason": f"ValueError: {number}"}


def test_one_table_has_the_rows_of_every_service(running: Running) -> None:
    running.add("shelves", [letter(1)])
    running.add("lending", [letter(1), letter(22)])
    # A service without a database keeps no events, so it is not asked.
    running.add("desk", [letter(3)])
    running.write_state()

    shown = running.slipway("dead-letters", "list", "--limit", "5")
    assert (shown.returncode, shown.stderr) == (OK, "")
    assert shown.stdout == (
        "service  id  type                 reason\n"
        "lending   1  library.v1.BookLent  ValueError: 1\n"
        "lending  22  library.v1.BookLent  ValueError: 22\n"
        "shelves   1  library.v1.BookLent  ValueError: 1\n"
    )
    assert running.asked == [
        f"{name} dead-letters list --limit 5 --json" for name in ("lending", "shelves")
    ]
    as_json = running.slipway("dead-letters", "list", "--json")
    assert [row["service"] for row in json.loads(as_json.stdout)] == [
        "lending",
        "lending",
        "shelves",
    ]


@pytest.mark.parametrize("columns", [20, 0])
def test_a_table_is_complete_whatever_the_size_of_the_terminal(
    running: Running, columns: int
) -> None:
    running.add("shelves", [letter(1)])
    running.write_state()
    shown = running.on_a_terminal(columns, "dead-letters", "list")
    assert shown.splitlines()[:2] == [
        "service  id  type                 reason",
        "shelves   1  library.v1.BookLent  ValueError: 1",
    ]


def test_a_service_that_cannot_be_asked_gets_a_line(running: Running) -> None:
    running.add("shelves", [letter(1)])
    running.add("lending", code=UNAVAILABLE, said="the database cannot be reached: gone")
    running.write_state()
    shown = running.slipway("dead-letters", "list")
    assert shown.returncode == UNAVAILABLE
    assert shown.stderr == "lending: the database cannot be reached: gone\n"
    assert shown.stdout.splitlines()[1].startswith("shelves")


def test_a_service_without_rows_says_so_only_if_no_other_has_some(running: Running) -> None:
    running.add("shelves", [{"unsent": 0}])
    running.add("lending", [], code=NOTHING, said="warning: x\nlending publishes no events")
    running.write_state()
    shown = running.slipway("outbox", "status")
    assert (shown.returncode, shown.stderr) == (OK, "lending: warning: x\n")

    running.add("shelves", [], code=NOTHING, said="no events are refused")
    shown = running.slipway("outbox", "refused")
    assert (shown.returncode, shown.stdout) == (NOTHING, "")
    assert "shelves: no events are refused\n" in shown.stderr


def test_a_change_in_all_services_is_shown_first_and_made_where_there_is_something(
    running: Running,
) -> None:
    running.add("shelves", [letter(1)], said="shelves: redrive 1 dead letter (keys: a)")
    running.add("lending", [], code=NOTHING, said="nothing matches; nothing was changed")
    running.write_state()
    refused = running.slipway("dead-letters", "redrive", "--all")
    assert refused.returncode == USAGE
    assert "shelves: redrive 1 dead letter (keys: a)\n" in refused.stderr
    confirmation = "nothing was changed: confirm with --yes, as there is no terminal\n"
    assert refused.stderr.endswith(confirmation)
    assert not [line for line in running.asked if "--yes" in line]

    done = running.slipway("dead-letters", "redrive", "--all", "--yes")
    assert done.returncode == OK
    assert [line for line in running.asked if "--yes" in line] == [
        "shelves dead-letters redrive --all --yes --json"
    ]


@pytest.mark.parametrize(
    "typed", ["events pause all", "events skip a.b.C.1", "events shadow", "dead-letters show 1"]
)
def test_what_is_about_one_service_needs_its_name(running: Running, typed: str) -> None:
    running.add("shelves", [letter(1)])
    running.add("lending", [])
    # This service has no database.
    running.add("desk")
    running.write_state()
    refused = running.slipway(*typed.split())
    assert refused.returncode == USAGE
    assert refused.stderr.startswith("slipway: ")
    assert refused.stderr.endswith(": select it by --service NAME (lending, shelves)\n")
    one = running.slipway(*typed.split(), "--service", "shelves")
    assert one.returncode == OK
    assert running.asked == [f"shelves {typed}"]


def test_wrong_usage_and_a_platform_that_does_not_run_are_told(running: Running) -> None:
    assert running.slipway("events", "raise").returncode == USAGE
    nothing = running.slipway("events", "status")
    assert (nothing.returncode, nothing.stderr) == (
        1,
        "slipway: nothing runs; `slipway run` starts the platform\n",
    )
    helped = running.slipway("events", "--help")
    assert (helped.returncode, "start-over" in helped.stdout) == (OK, True)


@pytest.mark.parametrize(
    ("name", "cause"),
    [
        ("attic", "there is no service attic; there are: shelves"),
        ("lending", "lending does not run here; there are: shelves"),
        ("desk", "desk has no database, so it keeps no events; there are: shelves"),
    ],
)
def test_a_service_that_cannot_be_meant_is_wrong_usage_with_its_cause(
    running: Running, name: str, cause: str
) -> None:
    running.add("shelves", [])
    running.write_state()
    refused = running.slipway("events", "status", "--service", name)
    assert (refused.returncode, refused.stderr) == (USAGE, f"slipway: {cause}\n")


def test_help_names_each_verb_and_the_option_for_one_service(running: Running) -> None:
    listed = " ".join(running.slipway("--help").stdout.replace("│", " ").split())
    for noun in NOUNS:
        helped = running.slipway(noun, "--help").stdout
        assert "--service NAME" in helped
        (verbs,) = re.findall(rf" {noun} [A-Z][^:]+: ([a-z, -]+); --service NAME ", listed)
        assert verbs.split(", ") == re.findall(r"^    ([a-z-]+)", helped, re.M)
    changing = running.slipway("events", "pause", "--help")
    assert "--service NAME" in changing.stdout


READYZ = {
    "status": "ready",
    "events": {
        "dead_letters": 2,
        "stopped_lanes": ["a.b.C.7: 1 event is missing"],
        "paused_types": ["a.b.D", "a.b.E"],
    },
}


class _Probed(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(READYZ).encode())

    def log_message(self, *_: object) -> None: ...


def test_ps_and_doctor_show_what_waits_for_an_operator(running: Running) -> None:
    running.add("shelves", [])
    with ThreadingHTTPServer(("127.0.0.1", 0), _Probed) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        running.write_state(http_port=server.server_port)
        finding = check_events(running.workspace.state)
        state = read_state(running.workspace.state)
        assert state is not None
        table, _ = asyncio.run(state_table(state))
        server.shutdown()
    assert not finding.ok
    assert not finding.needed
    assert finding.found == (
        "shelves has 2 dead letters; a lane of shelves is stopped: a.b.C.7: 1 event is missing;"
        " a.b.D is paused in shelves; a.b.E is paused in shelves"
    )
    out = StringIO()
    Console(file=out, width=200).print(table)
    header, row = out.getvalue().splitlines()[:2]
    assert header.split()[:6] == ["service", "state", "port", "grpc", "dead", "stopped"]
    places = [(header.index(name), len(name)) for name in ("dead", "stopped")]
    assert [row[at : at + length].strip() for at, length in places] == ["2", "1"]
    assert "paused in shelves: a.b.D, a.b.E" in out.getvalue()
