"""Docstrings, comments, names, messages and documents avoid words that make readers stumble.

CONTRIBUTING.md has the rules. A failure names the place, the words and what to write instead.
"""

import ast
import io
import re
import tokenize
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

# A pattern that must not be written -> the words to write instead.
WORDS = {
    r"(?<!-)\banew\b": '"again", "recreate the …" or "start over"',
    r"\b(?:nobody|no one)\b": '"no process", "no service", "no one\'s …" by its name',
    r"\b(?:somebody|someone|anybody|anyone)\b": '"another process", "a client", "any caller"',
    r"\beverybody\b|\beveryone\b": '"every process", "all clients"',
    r"\bbeside\b": '"next to", "together with" or "concurrently with"',
    r"\bso (?:long|many|much|far)\b": 'the quantity by its name or number: "for at most `seconds`"',
    r"\bas many\b": 'the quantity by its name or number: "up to 500 events"',
    r"\bfor good\b": '"permanently"',
    r"\bfor ever\b": '"forever", or until when',
    r"\b(?:is|are|was|were) away\b": '"is unavailable"',
    r"(?<!there )\b(?:is|are|was|were) no (?!longer\b|more\b)": '"is not a …", "has no …"',
    r"\b(?:go|goes|going|went) on\b": '"continue", "resume"',
    r"\bstand(?:s|ing)? still\b": '"be idle", "stall"',
    r"\b(?:take|takes|taken|taking|took) away\b": '"delete", "remove"',
    r"\bwhoever\b": '"the process that …", "the client that …"',
    r"\bwithout a word\b": '"without an error", "silently"',
}
# A sentence begins with its subject, not with one of these.
OPENINGS = {
    "Who": "the process, client or person",
    "Whoever": "the process, client or person",
    "What": "the thing itself: the events, the rows, the text",
    "Whatever": 'the thing itself, or "any …"',
    "Whichever": 'the thing itself, or "any …"',
    "One(?= (?:that|which|who|whose|of|by|may|can|must|is|has|in|for|with|without|more)\\b|,)": (
        "the thing by its name"
    ),
    "Of": 'the subject: "A member without … has …"',
    "Else": '"Otherwise, …"',
    "Half": "the state by its name",
    "Once": 'the condition: "After …", "When …"',
    "Only(?= (?:of|in|by|at|for|with|on|to|if|when|while|where|until|then|now|what|those)\\b)": (
        'the subject: "… only if …", "No other …"'
    ),
    "Soon": '"Retry soon: …", or what happens',
    r"Sent(?! (?:events?|marks?|rows?|messages?)\b)": 'the subject: "The event was sent …"',
    "Gone": "the subject",
    "Nor": '"Neither does …", or a sentence of its own',
}
_BEGIN = r"(?:^|[.:;?!]\s+|[.?!][)\"”]\s+)"
_OPENINGS = {
    re.compile(rf"{_BEGIN}({opening})\b(?!-)"): advice for opening, advice in OPENINGS.items()
}
_BANNED = {re.compile(pattern, re.IGNORECASE): advice for pattern, advice in WORDS.items()}
_COMMENT = re.compile(r"^\s*(?:#|//|\{\{-? ?/\*) ?(.*?)(?:\*/ ?-?\}\})?$")
_CODE = re.compile(r"``[^`]*``|`[^`]*`")
# Comments at line ends: those that tools read, and sentences, whose first word has a capital.
_FOR_TOOLS = re.compile(r"# (?:noqa|type: ignore|fmt: )")
_SENTENCE = re.compile(r"# (?:\S*[A-Z0-9]|`).*\.")


@dataclass(frozen=True)
class Text:
    """Words for a reader, and where they stand."""

    path: Path
    line: int
    words: str


def problems(text: Text) -> Iterator[str]:
    """Yield a line for each banned word and opening."""
    words = " ".join(_CODE.sub("`…`", text.words).split())
    place = f"{text.path.relative_to(ROOT)}:{text.line}"
    for pattern, advice in _BANNED.items():
        for match in pattern.finditer(words):
            yield f"{place}: {match[0]!r}, write {advice}: {_around(words, match)}"
    for pattern, advice in _OPENINGS.items():
        for match in pattern.finditer(words):
            yield f"{place}: begins with {match[1]!r}, name {advice}: {_around(words, match)}"


def _around(words: str, match: re.Match[str]) -> str:
    return f"…{words[max(0, match.start() - 30) : match.end() + 50]}…"


def of_python(path: Path, *, messages: bool) -> Iterator[Text]:
    """Yield a file's docstrings, comments and names, and its `messages`: strings with spaces."""
    source = path.read_text(encoding="utf-8")
    tree = ast.parse(source)
    docstrings = set()
    for node in ast.walk(tree):
        match node:
            case ast.Expr(value=ast.Constant(str(words)) as docstring):
                docstrings.add(id(docstring))
                yield Text(path, node.lineno, words)
            case ast.FunctionDef(name) | ast.AsyncFunctionDef(name) | ast.ClassDef(name):
                yield Text(path, node.lineno, name.replace("_", " "))
    for node in ast.walk(tree) if messages else ():
        match node:
            case ast.Constant(str(value)) if id(node) not in docstrings and " " in value:
                yield Text(path, node.lineno, value)
    yield from _comments(path, source)


def _comments(path: Path, source: str) -> Iterator[Text]:
    block: list[str] = []
    begin = last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.COMMENT:
            continue
        line, words = token.start[0], token.string.lstrip("#: ")
        if not block or line != last + 1:
            if block:
                yield Text(path, begin, " ".join(block))
            block, begin = [], line
        block.append(words)
        last = line
    if block:
        yield Text(path, begin, " ".join(block))


def of_comments(path: Path) -> Iterator[Text]:
    """Yield the comments of a file that is neither Python nor a document, in blocks of lines."""
    block: list[str] = []
    for number, line in enumerate([*path.read_text(encoding="utf-8").splitlines(), ""], 1):
        if comment := _COMMENT.match(line):
            block.append(comment[1])
        elif block:
            yield Text(path, number - len(block), " ".join(block))
            block = []


def of_markdown(path: Path) -> Iterator[Text]:
    """Yield the paragraphs and table cells of a document, without its code."""
    text = re.sub(r"(?ms)^```.*?^```$", lambda m: "\n" * m[0].count("\n"), path.read_text("utf-8"))
    line = 1
    for block in re.split(r"(\n\s*\n)", text):
        if not block.startswith("    "):
            offset = line
            for part in re.split(r"(\n(?=\s*[-*|] |\s*\d+\. |\|))", block):
                for cell in part.split("|") if part.lstrip().startswith("|") else [part]:
                    if not cell.lstrip().startswith("#"):
                        yield Text(path, offset, cell.strip(" -*>\n"))
                offset += part.count("\n")
        line += block.count("\n")


def _sources() -> dict[str, list[Path]]:
    """Return the Python files by area: the folder that has a `src` or a `tests`."""
    found: dict[str, list[Path]] = {}
    # The environment is not searched, because it has tens of thousands of files.
    folders = [path for path in sorted(ROOT.iterdir()) if not path.name.startswith(".")]
    for path in sorted(path for folder in folders for path in folder.rglob("*.py")):
        parts = path.relative_to(ROOT).parts
        if "_pb2" in path.name or parts[0] == "contracts":
            continue
        for kind in ("src", "tests"):
            if kind in parts:
                found.setdefault("/".join(parts[: parts.index(kind) + 1]), []).append(path)
                break
    return found


SOURCES = _sources()
COMMENTED = sorted(
    path
    for folder in (
        *("bench", "contracts", "demo", "deploy", "docker", "platform", "services", ".github"),
        ".",
    )
    for pattern in ("*.yaml", "*.toml", "*.proto", "*.sh", "*.tpl", "Makefile", "Dockerfile")
    for path in ((ROOT / folder).glob(pattern) if folder == "." else (ROOT / folder).rglob(pattern))
)
DOCUMENTS = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md"), *(ROOT / ".github").rglob("*.md")]
)


@pytest.mark.parametrize("area", SOURCES)
def test_sources_avoid_riddles(area: str) -> None:
    messages = area.endswith("src")
    found = [
        problem
        for path in SOURCES[area]
        for text in of_python(path, messages=messages)
        for problem in problems(text)
    ]
    assert found == [], "\n" + "\n".join(found)


def test_comments_at_line_ends_are_sentences() -> None:
    found = [
        f"{path.relative_to(ROOT)}:{token.start[0]}: {token.string}"
        for paths in SOURCES.values()
        for path in paths
        for token in tokenize.generate_tokens(io.StringIO(path.read_text("utf-8")).readline)
        if token.type == tokenize.COMMENT
        and token.line[: token.start[1]].strip()
        and not _FOR_TOOLS.match(token.string)
        and not _SENTENCE.fullmatch(token.string)
    ]
    assert found == [], "write a sentence above the line:\n" + "\n".join(found)


def test_comments_of_other_files_avoid_riddles() -> None:
    assert len(COMMENTED) > 150
    found = [
        problem for path in COMMENTED for text in of_comments(path) for problem in problems(text)
    ]
    assert found == [], "\n" + "\n".join(found)


def test_documents_avoid_riddles() -> None:
    found = [
        problem for path in DOCUMENTS for text in of_markdown(path) for problem in problems(text)
    ]
    assert found == [], "\n" + "\n".join(found)
