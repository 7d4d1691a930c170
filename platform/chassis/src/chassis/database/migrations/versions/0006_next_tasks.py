"""An index of claimable tasks by type, so that waiting tasks do not slow a claim down."""

import sqlalchemy as sa
from alembic import op

revision = "chassis_0006"
down_revision = "chassis_0005"
# No release of the chassis has had these indexes.
SAFE_SINCE = {"slipway_task_due": "0.0", "slipway_task_alone": "0.0"}


def upgrade() -> None:
    op.drop_index("slipway_task_due", "slipway_task")
    op.drop_index("slipway_task_alone", "slipway_task")
    free = sa.text("due_at IS NOT NULL AND owner IS NULL")
    op.create_index(
        "slipway_task_next",
        "slipway_task",
        ["type", "alone", "due_at", "id"],
        sqlite_where=free,
        postgresql_where=free,
    )


def downgrade() -> None:
    op.drop_index("slipway_task_next", "slipway_task")
    has_its_time = sa.text("due_at IS NOT NULL")
    op.create_index(
        "slipway_task_due",
        "slipway_task",
        ["due_at", "id"],
        sqlite_where=has_its_time,
        postgresql_where=has_its_time,
    )
    op.create_index(
        "slipway_task_alone",
        "slipway_task",
        ["due_at", "id"],
        sqlite_where=sa.text("alone IS 1"),
        postgresql_where=sa.text("alone IS true"),
    )
