"""docs/operations.md explains each warning and error that a service can log."""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

# The tests share what they read, which takes longer than they do.
pytestmark = [pytest.mark.unit, pytest.mark.xdist_group("log events")]

ROOT = Path(__file__).parents[2]
SOURCES = [ROOT / "platform/chassis/src/chassis", *sorted(ROOT.glob("services/*/src"))]
PAGE = ROOT / "docs/operations.md"
# Method of a logger -> level of what it logs.
LEVELS = {
    "debug": "debug",
    "info": "info",
    "warning": "warning",
    "error": "error",
    "exception": "error",
    "critical": "critical",
}
EXPLAINED = {"warning", "error", "critical"}
LOGGER_NAMES = {"log", "_log", "logger", "_logger"}
LOGGER_FUNCTIONS = {"get_logger", "getLogger"}


@dataclass(frozen=True)
class LogCall:
    """A call of a logger; `event` is None unless it is a string literal."""

    place: str
    level: str
    event: str | None


def _is_logger(node: ast.expr) -> bool:
    match node:
        case ast.Name(name) | ast.Attribute(attr=name):
            return name in LOGGER_NAMES
        case ast.Call(func=ast.Name(name) | ast.Attribute(attr=name)):
            return name in LOGGER_FUNCTIONS or (name == "bind" and _is_bound_logger(node))
    return False


def _is_bound_logger(call: ast.Call) -> bool:
    return isinstance(call.func, ast.Attribute) and _is_logger(call.func.value)


def _log_calls(path: Path) -> Iterator[LogCall]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        match node:
            case ast.Call(func=ast.Attribute(logger, method)) if method in LEVELS and _is_logger(
                logger
            ):
                place = f"{path.relative_to(ROOT)}:{node.lineno}"
                match node.args:
                    case [ast.Constant(str(event)), *_]:
                        yield LogCall(place, LEVELS[method], event)
                    case _:
                        yield LogCall(place, LEVELS[method], None)


@pytest.fixture(scope="module")
def calls() -> list[LogCall]:
    """All calls of loggers in the sources."""
    files = [path for source in SOURCES for path in sorted(source.rglob("*.py"))]
    return [call for file in files for call in _log_calls(file)]


def _explained() -> list[tuple[str, str]]:
    tables = PAGE.read_text(encoding="utf-8").partition("\n## Log events\n")[2]
    row = re.compile(
        r"^\| `([^`]+)` \| (warning|error|critical) \| [^|]+\w[^|]* \| [^|]*\w[^|]* \|$", re.M
    )
    return row.findall(tables)


def test_every_log_event_is_a_string_literal(calls: list[LogCall]) -> None:
    assert len(calls) > 100
    assert [call.place for call in calls if call.event is None] == [], (
        "make the event a literal, and pass its data as keyword arguments"
    )


def test_every_warning_and_error_has_a_row_in_operations_md(calls: list[LogCall]) -> None:
    rows = set(_explained())
    missing = [
        f"{call.place}: | `{call.event}` | {call.level} | <meaning> | <what to do> |"
        for call in calls
        if call.level in EXPLAINED and (call.event, call.level) not in rows
    ]
    assert missing == [], "add these rows to a table below '## Log events' in docs/operations.md"


def test_every_row_in_operations_md_is_logged_and_stands_there_once(
    calls: list[LogCall],
) -> None:
    rows = _explained()
    logged = {(call.event, call.level) for call in calls}
    outdated = [row for row in rows if row not in logged]
    assert outdated == [], (
        "no source logs these: remove or correct their rows in docs/operations.md"
    )
    assert sorted(set(rows)) == sorted(rows), "explain each event in one row"


def test_no_row_of_the_table_is_malformed() -> None:
    tables = PAGE.read_text(encoding="utf-8").partition("\n## Log events\n")[2]
    lines = [line for line in tables.splitlines() if line.startswith("| `")]
    assert len(lines) == len(_explained()), (
        "each row is: | `event` | warning, error or critical | meaning | what to do |"
    )
