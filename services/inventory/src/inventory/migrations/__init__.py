"""The alembic revisions of the tables of inventory."""
