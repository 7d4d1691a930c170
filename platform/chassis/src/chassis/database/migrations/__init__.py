"""How alembic runs here; the chassis' own revisions are in versions/."""
