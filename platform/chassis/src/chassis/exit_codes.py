"""Exit codes of `python -m <service> …`; the numbers from 64 on are those of sysexits.h."""

__all__ = ["CONFIGURATION", "FAILED", "NOTHING", "OK", "SOFTWARE", "UNAVAILABLE", "USAGE"]

OK = 0
FAILED = 1
"""The command failed, or the user answered its question with no."""
NOTHING = 3
"""The command found no match and changed nothing."""
USAGE = 64
"""The arguments are wrong, or a change without a terminal lacks `--yes`."""
UNAVAILABLE = 69
"""The database or the broker is unavailable; the same command may succeed later."""
SOFTWARE = 70
"""The service's definition is invalid."""
CONFIGURATION = 78
"""A setting is invalid or missing."""
