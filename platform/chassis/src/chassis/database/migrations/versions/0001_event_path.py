"""The event path: outbox, positions, tasks, dead letters, marks."""

from alembic import op

from chassis.database import tables

revision = "chassis_0001"
down_revision = None
branch_labels = ("chassis",)


def upgrade() -> None:
    tables.metadata.create_all(op.get_bind())


def downgrade() -> None:
    tables.metadata.drop_all(op.get_bind())
