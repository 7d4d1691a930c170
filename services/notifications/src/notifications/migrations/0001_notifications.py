"""Notifications, at most one per order."""

import sqlalchemy as sa
from alembic import op

revision = "notifications_0001"
down_revision = None
branch_labels = ("notifications",)


def upgrade() -> None:
    op.create_table(
        "notifications",
        sa.Column("id", sa.BigInteger().with_variant(sa.Integer, "sqlite"), primary_key=True),
        sa.Column("order_id", sa.String(64), nullable=False, unique=True),
        sa.Column("customer_id", sa.String(64), nullable=False),
        sa.Column("text", sa.String(500), nullable=False),
    )
    op.create_index("notifications_of_customer", "notifications", ["customer_id", "id"])


def downgrade() -> None:
    op.drop_table("notifications")
