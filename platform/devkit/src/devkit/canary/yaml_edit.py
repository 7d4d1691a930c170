"""Edits of single values in YAML text, which keep its comments, its order and its form.

ruamel.yaml is not used because it writes the whole file again, with its own indents, columns of
comments and spaces in braces: it would change lines of values that were not edited.
"""

import json
import re
from collections.abc import Iterator, Sequence

import yaml

from devkit.errors import DevkitError

__all__ = ["CannotEdit", "get_value", "set_value"]

_INDENT = "  "
# Other readers of YAML take more texts for numbers than this one, such as 1e5.
_PLAIN = re.compile(r"([A-Za-z]|[0-9]+\.[0-9]+\.)[A-Za-z0-9._-]+")


class CannotEdit(DevkitError):
    """The text is not YAML of a form that can be edited; the message says what to do by hand."""


def get_value(text: str, path: Sequence[str]) -> str | None:
    """Return the scalar at a path of keys; None if the text does not have it, or has null there.

    Raises:
        CannotEdit: the text is not one document of YAML.
    """
    node: yaml.Node | None = _compose(text)
    for key in path:
        node = _item(node, key)
    if not isinstance(node, yaml.ScalarNode) or node.tag == "tag:yaml.org,2002:null":
        return None
    return str(node.value)


def set_value(text: str, path: Sequence[str], value: str | int) -> str:
    """Return the text with a value at a path of keys, which are added if they are missing.

    Raises:
        CannotEdit: the text is not one document of YAML, or has something else at that path.
    """
    node = _compose(text)
    if node is None:
        return f"{text.rstrip()}\n\n{_block(path, value, '')}".lstrip()
    for depth, key in enumerate(path):
        if not isinstance(node, yaml.MappingNode):
            raise CannotEdit(f"{'.'.join(path[:depth])} is not a table of values: edit it by hand")
        following = _item(node, key)
        if following is None:
            return _add(text, node, path[depth:], value)
        if _is_null(following):
            return _fill(text, following, path[depth + 1 :], value)
        node = following
    if not isinstance(node, yaml.ScalarNode):
        raise CannotEdit(f"{'.'.join(path)} is not a single value: edit it by hand")
    return text[: node.start_mark.index] + _scalar(value) + text[node.end_mark.index :]


def _compose(text: str) -> yaml.Node | None:
    try:
        root: yaml.Node | None = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.YAMLError as error:
        raise CannotEdit(f"not YAML: {error}") from error
    if root is not None and not isinstance(root, yaml.MappingNode):
        raise CannotEdit("the file holds no table of values")
    return root


def _item(node: yaml.Node | None, key: str) -> yaml.Node | None:
    """Return the value of a key. Raises CannotEdit if it is an alias of another place."""
    for name, value in node.value if isinstance(node, yaml.MappingNode) else ():
        if name.value == key:
            if value.start_mark.index < name.start_mark.index:
                raise CannotEdit(f"{key} is an alias: write its values out before they are edited")
            found: yaml.Node = value
            return found
    return None


def _is_null(node: yaml.Node) -> bool:
    return node.tag == "tag:yaml.org,2002:null"


def _fill(text: str, node: yaml.Node, path: Sequence[str], value: str | int) -> str:
    """Put a value in the place of null, which may be written as nothing at all."""
    before, after = text[: node.start_mark.index], text[node.end_mark.index :]
    if not before.endswith(" "):
        before += " "
    return before + _flow(path, value) + after


def _add(text: str, node: yaml.MappingNode, path: Sequence[str], value: str | int) -> str:
    """Add keys that a table does not have, at its end."""
    if node.flow_style:
        end = node.end_mark.index - 1
        comma = ", " if node.value else ""
        return text[:end].rstrip() + comma + _flow(path, value)[1:-1] + text[end:]
    end = _end_of_line(text, max(_ends(node)))
    column = node.value[0][0].start_mark.column
    before = text[:end] if text[:end].endswith("\n") or not end else f"{text[:end]}\n"
    return before + _block(path, value, " " * column) + text[end:].removeprefix("\n")


def _ends(node: yaml.Node) -> Iterator[int]:
    """Yield where each value ends; the end of a block would include the comments that follow."""
    if isinstance(node, yaml.CollectionNode) and not node.flow_style and node.value:
        for each in node.value:
            for part in each if isinstance(each, tuple) else (each,):
                yield from _ends(part)
    else:
        yield node.end_mark.index


def _end_of_line(text: str, index: int) -> int:
    """Return where the line ends; a block of text (`|`) ends where the next line begins."""
    if index and text[index - 1] == "\n":
        return index
    end = text.find("\n", index)
    return len(text) if end < 0 else end


def _block(path: Sequence[str], value: str | int, indent: str) -> str:
    lines = [f"{indent}{_INDENT * depth}{key}:" for depth, key in enumerate(path)]
    return "\n".join(lines) + f" {_scalar(value)}\n"


def _flow(path: Sequence[str], value: str | int) -> str:
    """Return a value in one line, as `{image: {tag: v2}}`; without keys, the value."""
    text = _scalar(value)
    for key in reversed(path):
        text = f"{{{key}: {text}}}"
    return text


def _scalar(value: str | int) -> str:
    """Return a value in YAML, quoted if it would be read as something else."""
    if not isinstance(value, str):
        return json.dumps(value)
    plain = _PLAIN.fullmatch(value) and yaml.safe_load(value) == value
    return value if plain else json.dumps(value)
