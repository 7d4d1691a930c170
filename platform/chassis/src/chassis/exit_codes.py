"""How a process of a service ends: what `python -m <service> …` returns to a shell or a script.

The numbers from 64 on are those of sysexits.h.
"""

__all__ = ["CONFIGURATION", "FAILED", "NOTHING", "OK", "SOFTWARE", "UNAVAILABLE", "USAGE"]

OK = 0
FAILED = 1
"""Something was not done: it failed, or the question whether to do it was answered with no."""
NOTHING = 3
"""Nothing matches; nothing was changed."""
USAGE = 64
"""The arguments are wrong, or a change without a terminal lacks `--yes`."""
UNAVAILABLE = 69
"""Database or broker cannot be reached, or refuse; the same command may succeed later."""
SOFTWARE = 70
"""The service is put together wrongly."""
CONFIGURATION = 78
"""A setting is wrong or missing."""
