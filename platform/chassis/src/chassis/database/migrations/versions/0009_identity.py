"""The identity of the database."""

import sqlalchemy as sa
from alembic import op

revision = "chassis_0009"
down_revision = "chassis_0008"


def upgrade() -> None:
    op.create_table(
        "slipway_identity",
        sa.Column("id", sa.Integer, primary_key=True),
        sa.Column("service", sa.String(255), nullable=False),
        sa.Column("database_id", sa.String(36), nullable=False),
    )


def downgrade() -> None:
    op.drop_table("slipway_identity")
