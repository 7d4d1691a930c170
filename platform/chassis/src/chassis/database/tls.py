"""TLS to PostgreSQL, set in its URL by libpq's parameters (sslmode, sslrootcert, …)."""

from collections.abc import Iterator
from pathlib import Path

from sqlalchemy import make_url

from chassis.certificates import unreadable

__all__ = ["problems"]

_MODES = ("disable", "allow", "prefer", "require", "verify-ca", "verify-full")
_FILES = ("sslrootcert", "sslcert", "sslkey", "sslcrl")


def problems(url: str) -> Iterator[str]:
    """Yield what is wrong with the TLS parameters of a PostgreSQL URL, a line each."""
    query = {
        name: value if isinstance(value, str) else value[-1]
        for name, value in make_url(url).query.items()
    }
    mode = query.get("sslmode", "prefer")
    if mode not in _MODES:
        yield f"APP_DATABASE_URL: sslmode is {mode!r}; it can be {', '.join(_MODES)}"
    if ("sslcert" in query) != ("sslkey" in query):
        missing, other = ("sslkey", "sslcert") if "sslcert" in query else ("sslcert", "sslkey")
        yield f"APP_DATABASE_URL: {missing} is required with {other}"
    # "system" is not a file: libpq takes it as the certificate authorities of the system.
    named = {name: query[name] for name in _FILES if query.get(name, "system") != "system"}
    files: dict[str, Path | None] = {
        f"APP_DATABASE_URL: {name}": Path(path) for name, path in named.items()
    }
    yield from unreadable(files)
