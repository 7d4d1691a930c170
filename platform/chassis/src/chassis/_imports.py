"""Imports of libraries without what they import wherever it is installed, though nothing needs it.

A service has no rich and no Pygments in its image. On a developer's machine they would take 6 MiB
and a tenth of the time that a service's imports take.
"""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

__all__ = ["without"]


@contextmanager
def without(package: str) -> Iterator[None]:
    """Let imports within the block find that a package is not installed, unless it is imported."""
    if package in sys.modules:
        yield
        return
    # Python treats a module that is None here as one that is not installed.
    sys.modules[package] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules[package]


# Log lines are rendered without rich. This is the first import of structlog in a service.
with without("rich"):
    import structlog  # noqa: F401
