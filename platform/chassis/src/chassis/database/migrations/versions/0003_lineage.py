"""Lineage: the generations of a producer's counters before the present one."""

import sqlalchemy as sa
from alembic import op

revision = "chassis_0003"
down_revision = "chassis_0002"


def upgrade() -> None:
    for table in ("slipway_relay", "slipway_position"):
        op.add_column(table, sa.Column("lineage", sa.Text, nullable=False, server_default=""))


def downgrade() -> None:
    for table in ("slipway_relay", "slipway_position"):
        op.drop_column(table, "lineage")
