"""Derived files, and the header that marks them."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

__all__ = ["MARK", "Artifact", "header", "json_text", "markdown_text", "yaml_of", "yaml_text"]

MARK = "Derived from the code by `slipway render`; do not edit."


@dataclass(frozen=True)
class Artifact:
    """A derived file: its path relative to the workspace's root, and its content."""

    path: Path
    text: str


def header(additions: str) -> str:
    """Return the first line of a derived file; `additions` names the place for manual additions."""
    return f"{MARK} Additions: {additions}."


def yaml_text(additions: str, *documents: object) -> str:
    """Return YAML documents below the header, with keys in their given order."""
    return f"# {header(additions)}\n{yaml_of(*documents)}"


def yaml_of(*documents: object) -> str:
    """Return YAML documents with keys in their given order."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def json_text(additions: str, content: Mapping[str, object]) -> str:
    """Return a JSON object whose first key has the header, because JSON has no comments."""
    return json.dumps({"//": header(additions), **content}, indent=2, ensure_ascii=False) + "\n"


def markdown_text(additions: str, text: str) -> str:
    """Return Markdown below the header, which is an invisible comment."""
    return f"<!-- {header(additions)} -->\n\n{text}"


class _Dumper(yaml.SafeDumper):
    """A dumper that indents lists, writes no anchors, and keeps the lines of longer texts."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        return True


def _represent_text(dumper: _Dumper, text: str) -> yaml.ScalarNode:
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, "|" if "\n" in text else None)


_Dumper.add_representer(str, _represent_text)
