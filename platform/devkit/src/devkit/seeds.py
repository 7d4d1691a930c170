"""Data for a new platform, loaded by its members.

A member registers an async function `seed(platform)` under the entry-point group `slipway.seeds`.
"""

from importlib.metadata import entry_points
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from devkit.platform import Platform

__all__ = ["plant_seeds"]


async def plant_seeds(platform: "Platform") -> list[str]:
    """Call every member's seed, once per data folder and kind of database; return their names.

    An error of a seed is raised, and every seed is called again at the next start, so seeds must
    be idempotent.
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
