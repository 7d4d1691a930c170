"""The canary that a task belongs to; empty for a task of the versions without a weight.

The index slipway_task_next stays, because members of the previous version claim tasks by it.
"""

import sqlalchemy as sa
from alembic import op

revision = "chassis_0011"
down_revision = "chassis_0010"

_UNCLAIMED = sa.text("due_at IS NOT NULL AND owner IS NULL")
_OF_CANARY = sa.text("canary <> ''")


def upgrade() -> None:
    op.add_column(
        "slipway_task",
        sa.Column("canary", sa.Text, nullable=False, server_default=sa.text("''")),
    )
    op.create_index(
        "slipway_task_canary",
        "slipway_task",
        ["canary"],
        sqlite_where=_OF_CANARY,
        postgresql_where=_OF_CANARY,
    )
    op.create_index(
        "slipway_task_ready",
        "slipway_task",
        ["type", "alone", "canary", "due_at", "id"],
        sqlite_where=_UNCLAIMED,
        postgresql_where=_UNCLAIMED,
    )


def downgrade() -> None:
    op.drop_index("slipway_task_ready", "slipway_task")
    op.drop_index("slipway_task_canary", "slipway_task")
    op.drop_column("slipway_task", "canary")
