"""Text files and output of other programs are read as UTF-8, whatever the machine's locale."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from devkit.workspace import find_workspace

pytestmark = pytest.mark.unit

_GENERATED = ("_pb2.py", "_pb2_grpc.py")
# open and fdopen of these modules read and write bytes, or take a mode for text.
_BINARY = ("gzip", "tarfile", "zipfile")


def test_every_file_of_the_workspace_is_read_and_written_as_utf_8() -> None:
    root = find_workspace().root
    found = [f"{file.relative_to(root)}:{line}" for file in sources(root) for line in guessed(file)]
    assert found == [], 'say encoding="utf-8"'


@pytest.mark.parametrize(
    ("call", "is_guessed"),
    [
        ("path.read_text()", True),
        ("path.read_text(errors='replace')", True),
        ("path.read_text(encoding='utf-8')", False),
        ("path.write_text(text)", True),
        ("path.write_text(text, 'utf-8')", False),
        ("open(path)", True),
        ("open(path, 'rb')", False),
        ("path.open('a')", True),
        ("path.open('ab')", False),
        ("path.open(mode='w', encoding='utf-8')", False),
        ("os.fdopen(number, 'w')", True),
        ("gzip.open(path)", False),
        ("subprocess.run(command, text=True)", True),
        ("subprocess.run(command, encoding='utf-8')", False),
    ],
)
def test_a_call_that_leaves_the_encoding_to_the_locale_is_found(
    tmp_path: Path, call: str, is_guessed: bool
) -> None:
    file = tmp_path / "module.py"
    file.write_text(f"\n{call}\n", encoding="utf-8")
    assert list(guessed(file)) == ([2] if is_guessed else [])


def sources(root: Path) -> Iterator[Path]:
    for file in root.rglob("*.py"):
        hidden = any(part.startswith(".") for part in file.relative_to(root).parts)
        if not hidden and not file.name.endswith(_GENERATED):
            yield file


def guessed(file: Path) -> Iterator[int]:
    """Yield the lines with a call that does not name the encoding."""
    for call in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(call, ast.Call) and _guesses(call):
            yield call.lineno


def _guesses(call: ast.Call) -> bool:
    named = {keyword.arg: keyword.value for keyword in call.keywords}
    if "encoding" in named or None in named:
        return False
    owner, name = _called(call)
    if name in ("read_text", "write_text"):
        return len(call.args) < (1 if name == "read_text" else 2)
    if name in ("open", "fdopen") and owner not in _BINARY and (owner, name) != ("os", "open"):
        modes = [named["mode"]] if "mode" in named else call.args
        return not any(_is_binary(mode) for mode in modes) and not _opens_something_else(call)
    return name in ("run", "Popen", "check_output") and ("text" in named)


def _called(call: ast.Call) -> tuple[str, str]:
    if isinstance(call.func, ast.Attribute):
        value = call.func.value
        return (value.id if isinstance(value, ast.Name) else "", call.func.attr)
    return "", call.func.id if isinstance(call.func, ast.Name) else ""


def _is_binary(mode: ast.expr) -> bool:
    return isinstance(mode, ast.Constant) and isinstance(mode.value, str) and "b" in mode.value


def _opens_something_else(call: ast.Call) -> bool:
    """Return whether a method of that name opens something other than a file."""
    return (
        isinstance(call.func, ast.Attribute)
        and call.func.attr == "open"
        and any(not isinstance(argument, ast.Constant) for argument in call.args[:1])
    )
