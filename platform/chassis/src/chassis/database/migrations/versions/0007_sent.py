"""Marks of sending, and events that the stream refused."""

import sqlalchemy as sa
from alembic import op

revision = "chassis_0007"
down_revision = "chassis_0006"


def upgrade() -> None:
    op.create_table(
        "slipway_sent_mark",
        sa.Column("rank", sa.BigInteger, primary_key=True, autoincrement=False),
        sa.Column("sent_at", sa.Double, nullable=False),
        sa.Column("noted_at", sa.Double, nullable=False),
    )
    op.create_table(
        "slipway_refused",
        sa.Column(
            "id",
            sa.BigInteger().with_variant(sa.Integer(), "sqlite"),
            primary_key=True,
            autoincrement=False,
        ),
        sa.Column("event_id", sa.String(64), nullable=False),
        sa.Column("subject", sa.String(255), nullable=False),
        sa.Column("headers", sa.LargeBinary, nullable=False),
        sa.Column("data", sa.LargeBinary, nullable=False),
        sa.Column("created_at", sa.Double, nullable=False),
        sa.Column("reason", sa.Text, nullable=False),
        sa.Column("refused_at", sa.Double, nullable=False),
    )
    where = sa.text("rank IS NULL AND number IS NOT NULL")
    op.create_index(
        "slipway_outbox_unranked",
        "slipway_outbox",
        ["id"],
        sqlite_where=where,
        postgresql_where=where,
    )


def downgrade() -> None:
    op.drop_index("slipway_outbox_unranked", "slipway_outbox")
    op.drop_table("slipway_refused")
    op.drop_table("slipway_sent_mark")
