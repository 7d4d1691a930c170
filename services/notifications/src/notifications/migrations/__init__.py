"""The alembic revisions of the table of notifications."""
