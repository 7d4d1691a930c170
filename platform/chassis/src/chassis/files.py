"""Files that settings name."""

from collections.abc import Iterator, Mapping
from pathlib import Path

__all__ = ["unreadable"]


def unreadable(files: Mapping[str, Path | None]) -> Iterator[str]:
    """A line for each variable that names a file which cannot be read."""
    for variable, path in files.items():
        if path is None:
            continue
        try:
            with path.open("rb") as file:
                file.read(1)
        except OSError as error:
            yield f"{variable}: {path} cannot be read: {error.strerror}"
