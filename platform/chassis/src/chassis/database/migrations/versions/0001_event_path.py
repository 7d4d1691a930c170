"""The event path: outbox, positions, tasks, dead letters, marks."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "chassis_0001"
down_revision = None
branch_labels = ("chassis",)


def upgrade() -> None:
    op.create_table(
        "slipway_outbox",
        _id(),
        sa.Column("event_id", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("headers", sa.LargeBinary, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("number", sa.BigInteger),
        sa.Column("rank", sa.BigInteger),
        sqlite_autoincrement=True,
    )
    op.create_index("slipway_outbox_rank", "slipway_outbox", ["rank"], unique=True)
    _create_partial_index("slipway_outbox_unnumbered", "slipway_outbox", ["id"], "number IS NULL")
    op.create_table(
        "slipway_relay",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("generation", sa.String(36), nullable=False),
        sa.Column("base_rank", sa.BigInteger, nullable=False),
        sa.Column("rank", sa.BigInteger, nullable=False),
        sa.Column("sent_rank", sa.BigInteger, nullable=False),
        sa.Column("sent_sequence", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "slipway_subject",
        sa.Column("subject", sa.String(255), primary_key=True),
        sa.Column("number", sa.BigInteger, nullable=False),
    )
    op.create_table(
        "slipway_position",
        sa.Column("subject", sa.String(255), primary_key=True),
        sa.Column("stream", sa.String(255), nullable=False),
        sa.Column("number", sa.BigInteger, nullable=False),
        sa.Column("generation", sa.String(36), nullable=False),
        sa.Column("sequence", sa.BigInteger, nullable=False),
        sa.Column("event_id", sa.String(255), nullable=False),
    )
    op.create_table(
        "slipway_task",
        _id(),
        *_event(),
        sa.Column("stored_at", sa.Double, nullable=False),
        sa.Column("due_at", sa.Double),
        sa.Column("followed", sa.Boolean, nullable=False),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("attempt", sa.Integer, nullable=False),
        sa.Column("alone", sa.Boolean, nullable=False),
        sa.Column("owner", sa.String(64)),
        sa.Column("leased_until", sa.Double),
        sa.Column("reason", sa.Text, nullable=False),
        sqlite_autoincrement=True,
    )
    has_its_time = "due_at IS NOT NULL"
    op.create_index("slipway_task_key", "slipway_task", ["key", "source", "id"])
    _create_partial_index("slipway_task_due", "slipway_task", ["due_at", "id"], has_its_time)
    _create_partial_index(
        "slipway_task_first", "slipway_task", ["key", "due_at", "source"], has_its_time
    )
    op.create_index(
        "slipway_task_alone",
        "slipway_task",
        ["due_at", "id"],
        sqlite_where=sa.text("alone IS 1"),
        postgresql_where=sa.text("alone IS true"),
    )
    _create_partial_index(
        "slipway_task_lease", "slipway_task", ["leased_until"], "leased_until IS NOT NULL"
    )
    op.create_table(
        "slipway_dead_letter",
        _id(),
        *_event(),
        sa.Column("tries", sa.Integer, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("died_at", sa.Double, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "slipway_mark",
        sa.Column("member", sa.String(64), primary_key=True),
        sa.Column("stream", sa.String(255), primary_key=True),
        sa.Column("lane", sa.Integer, primary_key=True),
    )


def downgrade() -> None:
    for table in ("mark", "dead_letter", "task", "position", "subject", "relay", "outbox"):
        op.drop_table(f"slipway_{table}")


def _id() -> sa.Column[int]:
    """Return an `id` column that the database counts up."""
    kind = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
    return sa.Column("id", kind, primary_key=True, autoincrement=True)


def _event() -> list[sa.Column[Any]]:
    """Return the columns of an event, which several tables share."""
    names = ("source", "key", "event_id", "type", "subject")
    return [
        *(sa.Column(name, sa.String(255), nullable=False) for name in names),
        sa.Column("headers", sa.LargeBinary, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
    ]


def _create_partial_index(name: str, table: str, columns: list[str], where: str) -> None:
    op.create_index(
        name, table, columns, sqlite_where=sa.text(where), postgresql_where=sa.text(where)
    )
