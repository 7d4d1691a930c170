"""Data that a new platform starts with: members register async functions `seed(platform)` under
the entry-point group `slipway.seeds`."""

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from devkit.platform import Platform

__all__ = ["plant_seeds"]


async def plant_seeds(platform: "Platform") -> list[str]:
    """Calls every member's seed, once per data folder and database kind; returns their names.

    A seed that fails raises, and is called again at the next start: it must be idempotent.
    """
    mark = platform.folder("seeded")
    if mark.exists():
        return []
    members = {member.name for member in platform.workspace.members}
    names = []
    for seed in entry_points(group="slipway.seeds"):
        if seed.dist is not None and seed.dist.name in members:
            await seed.load()(platform)
            names.append(seed.name)
    if names:
        mark.touch()
    return names
