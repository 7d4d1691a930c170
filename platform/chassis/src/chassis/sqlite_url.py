"""The URL of a SQLite file, written without SQLAlchemy, which tools need not import for it."""

from pathlib import Path
from urllib.parse import quote

__all__ = ["sqlite_url"]


def sqlite_url(file: Path) -> str:
    """Return the URL of a SQLite file; its path may contain ?, # and %."""
    return f"sqlite:///{quote(str(file), safe=' +/')}"
