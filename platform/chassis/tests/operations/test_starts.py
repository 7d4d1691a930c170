"""A running service does not import the operator's commands."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import chassis

pytestmark = pytest.mark.unit

SOURCE = Path(chassis.__file__).parent


def imported_at_once(tree: ast.AST) -> Iterator[str]:
    """Yield modules that are imported together with their importer, not by a call."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.ImportFrom):
            yield node.module or ""
        elif isinstance(node, ast.Import):
            yield from (name.name for name in node.names)
        elif not isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and not for_types(node):
            yield from imported_at_once(node)


def for_types(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def test_no_module_of_a_running_service_imports_the_commands_or_argparse() -> None:
    heavy = ("chassis.operations", "argparse")
    found = [
        f"{file.relative_to(SOURCE)}: {name}"
        for file in SOURCE.rglob("*.py")
        if "operations" not in file.relative_to(SOURCE).parts
        for name in imported_at_once(ast.parse(file.read_text(encoding="utf-8")))
        if name.startswith(heavy)
    ]
    assert found == []
