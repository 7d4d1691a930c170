"""A derived file, and the header by which it is known for one."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

__all__ = ["MARK", "Artifact", "header", "json_text", "markdown_text", "yaml_of", "yaml_text"]

MARK = "Derived from the code by `slipway render`; do not edit."


@dataclass(frozen=True)
class Artifact:
    """A file that is derived: its path relative to the workspace's root, and its content."""

    path: Path
    text: str


def header(additions: str) -> str:
    """The first line of a derived file; `additions` says where to write what it lacks."""
    return f"{MARK} Additions: {additions}."


def yaml_text(additions: str, *documents: object) -> str:
    """YAML documents in the order of their keys, below the header."""
    return f"# {header(additions)}\n{yaml_of(*documents)}"


def yaml_of(*documents: object) -> str:
    """YAML documents in the order of their keys."""
    return yaml.dump_all(documents, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=100)


def json_text(additions: str, content: Mapping[str, object]) -> str:
    """A JSON object; JSON has no comments, so its first key is the header."""
    return json.dumps({"//": header(additions), **content}, indent=2, ensure_ascii=False) + "\n"


def markdown_text(additions: str, text: str) -> str:
    """Markdown below the header, which does not show."""
    return f"<!-- {header(additions)} -->\n\n{text}"


class _Dumper(yaml.SafeDumper):
    """Lists indented below their key, and no anchors for what occurs twice."""

    def increase_indent(self, flow: bool = False, indentless: bool = False) -> None:
        super().increase_indent(flow, False)

    def ignore_aliases(self, data: object) -> bool:
        return True
