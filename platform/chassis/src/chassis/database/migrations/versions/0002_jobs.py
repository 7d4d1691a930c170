"""Periodic jobs, each with the time of its last run."""

import sqlalchemy as sa
from alembic import op

revision = "chassis_0002"
down_revision = "chassis_0001"


def upgrade() -> None:
    op.create_table(
        "slipway_job",
        sa.Column("name", sa.String(255), primary_key=True),
        sa.Column("ran_at", sa.Double, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("slipway_job")
