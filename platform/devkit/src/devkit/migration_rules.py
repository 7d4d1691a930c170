"""The lint of migrations: each must work with the previous version, which runs during a roll-out.

Therefore a revision may add. A step that removes something must wait until no running version needs
it: it drops a table, a column or an index, renames something, or adds NOT NULL without a default.
The revision declares that by a constant:

    SAFE_SINCE = {"orders.note": "0.4.0"}

Since version 0.4.0, no code reads or writes the column; for NOT NULL, all code writes it. The
version in the member's pyproject.toml must be later: then 0.4.0 has been released, and the version
before this one does not need the column.

Revisions are parsed, not run. `downgrade` is not checked, because a roll-back keeps the schema.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from packaging.version import InvalidVersion, Version

from devkit.errors import DevkitError
from devkit.workspace import Member, Workspace

__all__ = ["check_migrations", "migration_problems"]

_MARKER = "SAFE_SINCE"
_SQL = re.compile(
    r"\bDROP\s+(?:TABLE|COLUMN|INDEX)\b|\bRENAME\s+(?:TO|COLUMN)\b|\bSET\s+NOT\s+NULL\b"
    r"|\bADD\s+(?:COLUMN\s+)?(?!.*\bDEFAULT\b).*\bNOT\s+NULL\b",
    re.IGNORECASE | re.DOTALL,
)


@dataclass(frozen=True)
class _Finding:
    """A step that removes something: its line, the name of that, and what it does.

    The name is that of a table or an index, or `table.column`.
    """

    line: int
    removed: str
    does: str


def check_migrations(workspace: Workspace) -> None:
    """Raise DevkitError naming each step that breaks the previous version of a service."""
    if problems := list(migration_problems(workspace)):
        raise DevkitError(
            "\n  ".join(
                [
                    "A migration breaks the previous version, which still runs. Add first, remove"
                    " in a later release, and declare since when no version needs it"
                    " (docs/deploying.md, Migrations):",
                    *problems,
                ]
            )
        )


def migration_problems(workspace: Workspace) -> Iterator[str]:
    """Yield a line for each step that removes what the previous version may need."""
    for member in workspace.members:
        for file in sorted(member.source_root.rglob("*.py")):
            if "migrations" in file.relative_to(member.source_root).parts:
                place = file.relative_to(workspace.root).as_posix()
                for line, problem in _problems_of_revision(file, member):
                    yield f"{place}:{line}: {problem}"


def _problems_of_revision(file: Path, member: Member) -> Iterator[tuple[int, str]]:
    """Yield line and reason of each removal that an earlier version may still need."""
    tree = ast.parse(file.read_text(encoding="utf-8"), filename=str(file))
    if _constant(tree, "revision") is None:
        return
    marker = _constant(tree, _MARKER)
    safe = marker if isinstance(marker, dict) else {}
    version = member.version
    findings = list(_removals(tree))
    for found in findings:
        if found.removed not in safe:
            example = f'{_MARKER} = {{"{found.removed}": "<version>"}}'
            yield found.line, f"{found.does}; wait until no version needs it, then add {example}"
        elif not _is_earlier(str(safe[found.removed]), version):
            yield (
                found.line,
                f"{found.does}, which is safe since {safe[found.removed]}; {member.relative} is at"
                f" {version} and must have a later version",
            )
    for name in safe.keys() - {found.removed for found in findings}:
        yield 1, f"{_MARKER} names {name}, which this revision does not remove"


def _is_earlier(since: str, version: str) -> bool:
    try:
        return Version(since) < Version(version)
    except InvalidVersion:
        return False


def _constant(tree: ast.Module, name: str) -> object:
    """Return the literal that a module assigns to a name; None if it does not."""
    for node in tree.body:
        targets = node.targets if isinstance(node, ast.Assign) else ()
        if any(isinstance(target, ast.Name) and target.id == name for target in targets):
            assert isinstance(node, ast.Assign)
            return ast.literal_eval(node.value)
    return None


def _removals(tree: ast.Module) -> Iterator[_Finding]:
    """Yield what a revision removes, renames or makes NOT NULL."""
    up = [
        node
        for node in tree.body
        if not (isinstance(node, ast.FunctionDef) and node.name == "downgrade")
    ]
    nodes = [node for top in up for node in ast.walk(top)]
    batches = dict(_tables_of_batches(nodes))
    for node in nodes:
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            table = batches.get(ast.unparse(node.func.value))
            yield from _removals_of_call(node, node.func.attr, table)


def _tables_of_batches(nodes: list[ast.AST]) -> Iterator[tuple[str, str]]:
    """Yield variable and table of each `with op.batch_alter_table("orders") as batch`."""
    for node in nodes:
        for item in node.items if isinstance(node, ast.With) else ():
            call, name = item.context_expr, item.optional_vars
            if not (isinstance(call, ast.Call) and isinstance(name, ast.Name)):
                continue
            if _name(call.func) == "batch_alter_table":
                yield name.id, _text(_argument(call, 0, "table_name"))


def _removals_of_call(call: ast.Call, operation: str, batch: str | None) -> Iterator[_Finding]:
    """Yield what one alembic operation removes, renames or makes NOT NULL."""
    # The operations of a batch have no parameter for the table, so the column is the first.
    first = 0 if batch is not None else 1
    table = batch if batch is not None else _text(_argument(call, 0, "table_name"))
    column = f"{table}.{_text(_argument(call, first, 'column_name'))}"
    given = {keyword.arg for keyword in call.keywords}
    if operation == "drop_table":
        yield _Finding(call.lineno, table, f"drops the table {table}")
    elif operation == "rename_table":
        old = _text(_argument(call, 0, "old_table_name"))
        yield _Finding(call.lineno, old, f"renames the table {old}")
    elif operation == "drop_index":
        index = _text(_argument(call, 0, "index_name"))
        yield _Finding(call.lineno, index, f"drops the index {index}")
    elif operation == "drop_column":
        yield _Finding(call.lineno, column, f"drops the column {column}")
    elif operation == "alter_column":
        if "new_column_name" in given:
            yield _Finding(call.lineno, column, f"renames the column {column}")
        if _passes(call, "nullable", False) and not _has_default(call):
            yield _Finding(call.lineno, column, f"makes {column} NOT NULL")
    elif operation == "add_column":
        added = _argument(call, first, "column")
        if (
            isinstance(added, ast.Call)
            and _passes(added, "nullable", False)
            and not _has_default(added)
        ):
            name = f"{table}.{_text(_argument(added, 0, 'name'))}"
            yield _Finding(call.lineno, name, f"adds {name} NOT NULL without a server_default")
    elif operation == "execute":
        yield from _removals_of_sql(call)


def _removals_of_sql(call: ast.Call) -> Iterator[_Finding]:
    """Yield the SQL statements of a call that remove something."""
    for node in ast.walk(call):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            for statement in node.value.split(";"):
                if _SQL.search(statement):
                    shown = " ".join(statement.split())
                    yield _Finding(node.lineno, shown, f"executes {shown!r}")


def _argument(call: ast.Call, position: int, keyword: str) -> ast.expr | None:
    """Return an argument of a call, given by position or by keyword."""
    if position < len(call.args):
        return call.args[position]
    return next((each.value for each in call.keywords if each.arg == keyword), None)


def _passes(call: ast.Call, keyword: str, value: object) -> bool:
    found = next((each.value for each in call.keywords if each.arg == keyword), None)
    return isinstance(found, ast.Constant) and found.value is value


def _has_default(call: ast.Call) -> bool:
    for keyword in call.keywords:
        if keyword.arg in ("server_default", "existing_server_default"):
            return not (isinstance(keyword.value, ast.Constant) and keyword.value.value is None)
    # A Column with Identity(…) or Computed(…) gets its values from the database.
    return any(isinstance(each, ast.Call) and _name(each.func) in ("Identity", "Computed")
               for each in call.args)  # fmt: skip


def _text(node: ast.expr | None) -> str:
    """Return the value of a literal text, or the source of another expression."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return ast.unparse(node) if node is not None else "?"


def _name(function: ast.expr) -> str:
    return function.attr if isinstance(function, ast.Attribute) else getattr(function, "id", "")
