"""Types that an operator has paused, and stopped lanes."""

import sqlalchemy as sa
from alembic import op

revision = "chassis_0005"
down_revision = "chassis_0004"


def upgrade() -> None:
    op.create_table(
        "slipway_paused_type",
        sa.Column("type", sa.String(255), primary_key=True),
        sa.Column("paused_at", sa.Double, nullable=False),
        sa.Column("paused_by", sa.String(255), nullable=False),
    )
    op.create_table(
        "slipway_stopped_lane",
        sa.Column("stream", sa.String(255), primary_key=True),
        sa.Column("lane", sa.Integer, primary_key=True),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("verb", sa.String(64), nullable=False),
        sa.Column("stopped_at", sa.Double, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("slipway_stopped_lane")
    op.drop_table("slipway_paused_type")
