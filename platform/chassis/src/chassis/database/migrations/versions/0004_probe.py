"""A row that readiness writes to."""

import sqlalchemy as sa
from alembic import op

revision = "chassis_0004"
down_revision = "chassis_0003"


def upgrade() -> None:
    probe = op.create_table(
        "slipway_probe",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("written", sa.BigInteger, nullable=False),
    )
    op.bulk_insert(probe, [{"id": 1, "written": 0}])


def downgrade() -> None:
    op.drop_table("slipway_probe")
