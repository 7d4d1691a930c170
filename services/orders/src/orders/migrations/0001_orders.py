"""Orders and their histories."""

import sqlalchemy as sa
from alembic import op

revision = "orders_0001"
down_revision = None
branch_labels = ("orders",)


def upgrade() -> None:
    op.create_table(
        "orders",
        sa.Column("order_id", sa.String(64), primary_key=True),
        sa.Column("customer_id", sa.String(64), nullable=False),
        sa.Column("idempotency_key", sa.String(255)),
        sa.Column("fingerprint", sa.String(64), nullable=False),
        sa.Column("status", sa.String(16), nullable=False),
        sa.Column("reason", sa.String(32)),
        sa.Column("lines", sa.JSON, nullable=False),
        sa.Column("total", sa.BigInteger, nullable=False),
        sa.Column("currency", sa.String(3), nullable=False),
        sa.Column("placed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("ended_at", sa.DateTime(timezone=True)),
        sa.Column("recorded", sa.Integer, nullable=False),
        sa.UniqueConstraint("customer_id", "idempotency_key", name="orders_idempotency_key"),
    )
    op.create_index("orders_of_customer", "orders", ["customer_id", "placed_at", "order_id"])
    op.create_index("orders_placed", "orders", ["placed_at", "order_id"])
    op.create_index("orders_in_status", "orders", ["status", "placed_at"])
    op.create_table(
        "order_events",
        sa.Column("order_id", sa.String(64), sa.ForeignKey("orders.order_id"), primary_key=True),
        sa.Column("sequence", sa.Integer, primary_key=True),
        sa.Column("cloudevent", sa.Text, nullable=False),
        sa.Column("terminal", sa.Boolean, nullable=False),
    )


def downgrade() -> None:
    op.drop_table("order_events")
    op.drop_table("orders")
