"""README.md of the chart: a table of its values, their defaults, and the comments above them."""

from collections.abc import Iterator
from pathlib import Path

import yaml

from devkit.describing.description import PlatformDescription
from devkit.errors import DevkitError
from devkit.rendering.artifact import Artifact, markdown_text

__all__ = ["artifacts"]

_CHART = Path("deploy/helm/service")
_INTRODUCTION = """\
# The chart `service`

This chart deploys any service; a release deploys one. How to install it: docs/deploying.md, "Helm".
A service's values override those below `global`, which override the defaults.

| value | default | meaning |
|---|---|---|
"""


def artifacts(platform: PlatformDescription) -> Iterator[Artifact]:
    """Yield README.md in the chart's folder.

    Raises:
        DevkitError: a value has no comment.
    """
    file = platform.root / _CHART / "values.yaml"
    if file.is_file():
        rows = _rows(file.read_text(encoding="utf-8"))
        text = _INTRODUCTION + "".join(f"{row}\n" for row in rows)
        yield Artifact(_CHART / "README.md", markdown_text("comments in values.yaml", text))


def _rows(text: str) -> Iterator[str]:
    """Yield a row for each value with a comment; values below it are part of its default."""
    root = yaml.compose(text, Loader=yaml.SafeLoader)
    lines = text.splitlines()
    assert isinstance(root, yaml.MappingNode)
    for key, value in root.value:
        if key.value == "defaults":
            yield from _rows_below(value, (), lines)
        else:
            yield _row((key.value,), value, _comment(lines, key))


def _rows_below(node: yaml.MappingNode, path: tuple[str, ...], lines: list[str]) -> Iterator[str]:
    """Yield a table row for each commented value below a node; refuse one without a comment."""
    for key, value in node.value:
        here = (*path, key.value)
        comment = _comment(lines, key)
        grouped = isinstance(value, yaml.MappingNode) and value.value and not value.flow_style
        if grouped and (not comment or any(_comment(lines, each) for each, _ in value.value)):
            yield from _rows_below(value, here, lines)
        elif not comment:
            raise DevkitError(
                f"{_CHART}/values.yaml, line {key.start_mark.line + 1}: {'.'.join(here)} has no"
                " comment. Explain it in a comment above, which goes into the README's table."
            )
        else:
            yield _row(here, value, comment)


def _comment(lines: list[str], key: yaml.Node) -> str:
    """Return the comment directly above a key, as one line."""
    found: list[str] = []
    line = key.start_mark.line - 1
    while line >= 0 and lines[line].strip().startswith("#"):
        found.insert(0, lines[line].strip().removeprefix("#").strip())
        line -= 1
    return " ".join(found)


def _row(path: tuple[str, ...], value: yaml.Node, comment: str) -> str:
    """Return the table row of a value: its path, default and comment."""
    default = yaml.safe_dump(
        yaml.SafeLoader("").construct_object(value, deep=True),
        default_flow_style=True,
        width=10_000,
        sort_keys=False,
    )
    shown = default.removesuffix("\n").removesuffix("...").strip()
    return f"| `{'.'.join(path)}` | `{_escaped(shown)}` | {_escaped(comment)} |"


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
