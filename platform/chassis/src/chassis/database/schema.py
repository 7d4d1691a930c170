"""Revisions of a database compared with those of this code, without alembic.

A migration records in the database which revisions it has. Older code finds revisions there that it
does not know, newer code misses some of its own.
"""

import ast
import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from pathlib import Path

from sqlalchemy import Connection, inspect, text

__all__ = ["Code", "Schema", "compare", "record"]

_CHASSIS = "chassis.database.migrations.versions"
_TABLE = "slipway_schema"


class Code:
    """The revisions of this code: those of the chassis and of the package `migrations`."""

    def __init__(self, migrations: str | None) -> None:
        self.folders = [Path(str(files(p))) for p in (_CHASSIS, migrations) if p]
        self._files = [f for folder in self.folders for f in sorted(folder.glob("[0-9]*.py"))]

    @cached_property
    def digest(self) -> str:
        """A digest of all revision files."""
        digest = hashlib.sha256()
        for file in self._files:
            digest.update(file.name.encode() + file.read_bytes())
        return digest.hexdigest()

    @cached_property
    def parents(self) -> Mapping[str, frozenset[str]]:
        """The ids of all revisions, each with those that it follows.

        Raises:
            ValueError: a file has no `revision`, or the same one as another file.
        """
        found: dict[str, frozenset[str]] = {}
        for file in self._files:
            names = _assigned(ast.parse(file.read_bytes(), str(file)))
            revision = names.get("revision")
            if not isinstance(revision, str) or revision in found:
                raise ValueError(f'{file}: needs a line revision = "…", unlike any other file\'s')
            before = names.get("down_revision")
            found[revision] = frozenset([before] if isinstance(before, str) else before or ())  # type: ignore[call-overload]
        return found

    @property
    def revisions(self) -> frozenset[str]:
        """The ids of all revisions."""
        return frozenset(self.parents)

    @property
    def heads(self) -> tuple[str, ...]:
        """The newest revision of the chassis and of the service."""
        return tuple(sorted(self.revisions.difference(*self.parents.values())))


def _assigned(module: ast.Module) -> dict[str, object]:
    """Return the constants that are assigned at the top level of a module, by name."""
    found: dict[str, object] = {}
    for statement in module.body:
        if isinstance(statement, ast.AnnAssign) and statement.value is not None:
            pairs: Iterable[tuple[ast.expr, ast.expr]] = [(statement.target, statement.value)]
        elif isinstance(statement, ast.Assign) and len(statement.targets) == 1:
            target, value = statement.targets[0], statement.value
            both = isinstance(target, ast.Tuple) and isinstance(value, ast.Tuple)
            pairs = zip(target.elts, value.elts, strict=False) if both else [(target, value)]  # type: ignore[attr-defined]
        else:
            continue
        for name, value in pairs:
            if isinstance(name, ast.Name):
                try:
                    found[name.id] = ast.literal_eval(value)
                except ValueError:
                    continue  # A computed value is neither revision nor down_revision.
    return found


@dataclass(frozen=True, slots=True)
class Schema:
    """The revisions of a database, and how they differ from this code.

    `heads` are its newest revisions, `missing` are revisions of this code that it lacks, `unknown`
    are revisions that this code does not know.
    """

    heads: tuple[str, ...]
    missing: tuple[str, ...]
    unknown: tuple[str, ...]


def compare(connection: Connection, code: Code) -> Schema:
    """Compare the revisions that are recorded in the database with those of this code.

    Raises:
        sqlalchemy.exc.DBAPIError: the database refused.
    """
    row = None
    if inspect(connection).has_table(_TABLE):
        row = connection.execute(text(f"SELECT digest, revisions, heads FROM {_TABLE}")).first()
    if row is None:
        return Schema((), tuple(sorted(code.revisions)), ())
    heads = tuple(str(row.heads).split())
    if row.digest == code.digest:
        return Schema(heads, (), ())
    there = set(str(row.revisions).split())
    missing, unknown = code.revisions - there, there - code.revisions
    return Schema(heads, tuple(sorted(missing)), tuple(sorted(unknown)))


def record(connection: Connection, code: Code) -> None:
    """Record that the database has the newest revisions of this code."""
    connection.execute(
        text(
            f"CREATE TABLE IF NOT EXISTS {_TABLE}"
            " (digest VARCHAR(64), revisions TEXT NOT NULL, heads TEXT NOT NULL)"
        )
    )
    connection.execute(text(f"DELETE FROM {_TABLE}"))
    connection.execute(
        text(f"INSERT INTO {_TABLE} VALUES (:digest, :revisions, :heads)"),
        {
            "digest": code.digest,
            "revisions": " ".join(sorted(code.revisions)),
            "heads": " ".join(code.heads),
        },
    )
