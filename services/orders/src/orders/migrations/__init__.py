"""The alembic revisions of the tables of orders."""
