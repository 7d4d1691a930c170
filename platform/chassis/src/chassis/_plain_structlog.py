"""The import of structlog without rich, which structlog imports wherever it is installed.

Log lines do not use rich, and the image of a service does not have it. On a developer's machine it
would take 4 MiB and a twentieth of the time that a service's imports take.
"""

import sys

__all__: list[str] = []

if "rich" not in sys.modules:
    # Python treats a module that is None here as one that is not installed.
    sys.modules["rich"] = None  # type: ignore[assignment]
    try:
        import structlog  # noqa: F401
    finally:
        del sys.modules["rich"]
