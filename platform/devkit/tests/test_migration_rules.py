"""The lint refuses a migration that breaks the previous version of its service."""

from collections.abc import Callable
from pathlib import Path

import pytest

from devkit.errors import DevkitError
from devkit.migration_rules import check_migrations, migration_problems
from devkit.workspace import Workspace, find_workspace

pytestmark = pytest.mark.unit

Write = Callable[[str, str], Path]
Revise = Callable[..., list[str]]

FILE = "services/lending/src/lending/migrations/0002_change.py"


@pytest.fixture
def revise(workspace: Workspace, write: Write) -> Revise:
    """A function that returns the problems of a revision of lending, whose version is 1."""

    def problems(body: str, marker: str = "") -> list[str]:
        lines = "\n    ".join(body.splitlines())
        write(
            FILE,
            "import sqlalchemy as sa\nfrom alembic import op\n"
            f'revision = "lending_0002"\n{marker}\n'
            f"def upgrade() -> None:\n    {lines}\n"
            'def downgrade() -> None:\n    op.drop_table("loans")\n',
        )
        return [line.removeprefix(f"{FILE}:") for line in migration_problems(workspace)]

    return problems


@pytest.mark.parametrize(
    "body",
    [
        'op.create_table("loans", sa.Column("id", sa.Integer, nullable=False))',
        'op.add_column("loans", sa.Column("note", sa.Text))',
        'op.add_column("loans", sa.Column("days", sa.Integer, nullable=False, server_default="0"))',
        'op.add_column("loans", sa.Column("n", sa.Integer, sa.Identity(), nullable=False))',
        'op.alter_column("loans", "note", nullable=True)',
        'op.alter_column("loans", "note", nullable=False, server_default="")',
        'op.create_index("loans_by_day", "loans", ["day"])',
        'op.execute("UPDATE loans SET note = 1")',
        'op.execute("ALTER TABLE loans ADD COLUMN n int NOT NULL DEFAULT 0")',
    ],
)
def test_what_only_adds_passes(revise: Revise, body: str) -> None:
    assert revise(body) == []


@pytest.mark.parametrize(
    ("body", "said", "what"),
    [
        ('op.drop_table("loans")', "drops the table loans", "loans"),
        ('op.rename_table("loans", "lendings")', "renames the table loans", "loans"),
        ('op.drop_column("loans", "note")', "drops the column loans.note", "loans.note"),
        ('op.drop_index("by_day", "loans")', "drops the index by_day", "by_day"),
        ('op.drop_index(index_name="by_day")', "drops the index by_day", "by_day"),
        (
            'op.execute("DROP INDEX CONCURRENTLY by_day")',
            "executes 'DROP INDEX CONCURRENTLY by_day'",
            "DROP INDEX CONCURRENTLY by_day",
        ),
        (
            'op.drop_column(table_name="loans", column_name="note")',
            "drops the column loans.note",
            "loans.note",
        ),
        (
            'op.alter_column("loans", "note", new_column_name="remark")',
            "renames the column loans.note",
            "loans.note",
        ),
        (
            'op.alter_column("loans", "note", nullable=False)',
            "makes loans.note NOT NULL",
            "loans.note",
        ),
        (
            'op.add_column("loans", sa.Column("days", sa.Integer, nullable=False))',
            "adds loans.days NOT NULL without a server_default",
            "loans.days",
        ),
        (
            'with op.batch_alter_table("loans") as batch:\n    batch.drop_column("note")',
            "drops the column loans.note",
            "loans.note",
        ),
        (
            'op.execute("ALTER TABLE loans DROP COLUMN note")',
            "executes 'ALTER TABLE loans DROP COLUMN note'",
            "ALTER TABLE loans DROP COLUMN note",
        ),
        (
            'op.execute(sa.text("alter table loans add n int not null"))',
            "executes 'alter table loans add n int not null'",
            "alter table loans add n int not null",
        ),
        (
            'for table in ("a", "b"):\n    op.drop_column(table, "note")',
            "drops the column table.note",
            "table.note",
        ),
    ],
)
def test_a_revision_that_drops_something_is_refused_until_it_is_marked(
    revise: Revise, body: str, said: str, what: str
) -> None:
    (problem,) = revise(body)

    marker = f'SAFE_SINCE = {{"{what}": "<version>"}}'
    assert problem.partition(": ")[2] == (
        f"{said}; wait until no version needs it, then add {marker}"
    )
    assert revise(body, marker.replace("<version>", "0.9")) == []


@pytest.mark.parametrize("since", ["1", "1.0", "1.2", "soon"])
def test_a_mark_names_a_version_that_has_been_released_before(revise: Revise, since: str) -> None:
    (problem,) = revise(
        'op.drop_column("loans", "note")', f'SAFE_SINCE = {{"loans.note": "{since}"}}'
    )

    assert f"which is safe since {since}; services/lending is at 1 and must have" in problem
    assert problem.endswith(" a later version")


def test_a_mark_of_what_stays_is_named(revise: Revise) -> None:
    (problem,) = revise("pass", 'SAFE_SINCE = {"loans.note": "0.9"}')

    assert problem == "1: SAFE_SINCE names loans.note, which this revision does not remove"


def test_the_lint_says_where_and_what_to_do(revise: Revise, workspace: Workspace) -> None:
    revise('op.drop_table("loans")')

    with pytest.raises(DevkitError, match="Add first, remove in a later release") as raised:
        check_migrations(workspace)
    assert f"\n  {FILE}:6: drops the table loans;" in str(raised.value)


def test_a_module_that_is_not_a_revision_is_not_checked(workspace: Workspace, write: Write) -> None:
    write("services/lending/src/lending/migrations/helper.py", 'op.drop_table("loans")\n')

    assert list(migration_problems(workspace)) == []


def test_the_migrations_of_this_platform_keep_the_rule() -> None:
    check_migrations(find_workspace(Path(__file__)))
