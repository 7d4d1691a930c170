"""Every kind of derived file; a new one is a module beside this one and a line here."""

from collections.abc import Callable, Iterator

from devkit.describing.description import PlatformDescription
from devkit.rendering import facts
from devkit.rendering.artifact import Artifact

__all__ = ["KINDS"]

KINDS: tuple[Callable[[PlatformDescription], Iterator[Artifact]], ...] = (
    facts.artifacts,
)  # fmt: skip
