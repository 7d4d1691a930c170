"""Packages that a lock file asks for, and that an environment has in another version."""

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from packaging.requirements import Requirement

__all__ = ["other_versions"]


def other_versions(lock: str) -> list[str]:
    """Return each package of a lock's text that this environment lacks or has in another version.

    An item is, for example, `fastapi 0.141 (here 0.142)`.
    """
    found = []
    for package in _pinned(lock):
        locked = next(iter(package.specifier)).version
        here = _installed(package.name)
        if here != locked:
            found.append(f"{package.name} {locked} (here {here or 'not installed'})")
    return found


def _pinned(lock: str) -> Iterator["Requirement"]:
    """Yield the pinned packages that apply to this system and Python."""
    # Only a canary needs it, and every start of a platform imports this module.
    from packaging.requirements import Requirement

    for line in lock.splitlines():
        text = line.removesuffix("\\").strip()
        if not line or line[0] in " #-" or "==" not in text:
            continue
        package = Requirement(text)
        if package.marker is None or package.marker.evaluate():
            yield package


def _installed(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
