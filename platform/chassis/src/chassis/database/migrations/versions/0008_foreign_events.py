"""Positions in foreign streams, and foreign events that were handled."""

import sqlalchemy as sa
from alembic import op

revision = "chassis_0008"
down_revision = "chassis_0007"


def upgrade() -> None:
    op.create_table(
        "slipway_foreign_position",
        sa.Column("stream", sa.String(255), primary_key=True),
        sa.Column("subject", sa.String(255), primary_key=True),
        sa.Column("generation", sa.String(36), nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=False),
        sa.Column("event_id", sa.String(255), nullable=False),
    )
    op.create_table(
        "slipway_foreign_event",
        sa.Column("source", sa.String(255), primary_key=True),
        sa.Column("id", sa.String(255), primary_key=True),
        sa.Column("taken_at", sa.Double(), nullable=False),
    )
    op.create_index("slipway_foreign_event_taken_at", "slipway_foreign_event", ["taken_at"])


def downgrade() -> None:
    op.drop_table("slipway_foreign_event")
    op.drop_table("slipway_foreign_position")
