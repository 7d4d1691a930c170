"""Masking of credentials in texts that are logged or printed."""

import re

__all__ = ["without_credentials"]

_CREDENTIALS = re.compile(r"(?<=://)[^/\s@\"']+@")


def without_credentials(text: str) -> str:
    """Return the text with the user and password of each URL masked."""
    return _CREDENTIALS.sub("***@", text)
