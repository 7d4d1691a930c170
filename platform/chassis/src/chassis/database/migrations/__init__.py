"""Alembic's environment; versions/ has the revisions of the chassis."""
