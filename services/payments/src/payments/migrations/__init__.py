"""The alembic revisions of the table of payments."""
