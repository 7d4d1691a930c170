"""The tries of a task by the version that made them."""

import sqlalchemy as sa
from alembic import op

revision = "chassis_0010"
down_revision = "chassis_0009"


def upgrade() -> None:
    op.add_column(
        "slipway_task",
        sa.Column("tried", sa.Text, nullable=False, server_default=sa.text("'{}'")),
    )


def downgrade() -> None:
    op.drop_column("slipway_task", "tried")
