"""The version of the service that made an event a dead letter."""

import sqlalchemy as sa
from alembic import op

revision = "chassis_0012"
down_revision = "chassis_0011"


def upgrade() -> None:
    op.add_column(
        "slipway_dead_letter",
        sa.Column("version", sa.Text, nullable=False, server_default=sa.text("''")),
    )


def downgrade() -> None:
    op.drop_column("slipway_dead_letter", "version")
