"""The owner of each lane, computed from the membership alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from chassis.events.wire.lanes import LANES

__all__ = ["Member", "share_of_lanes"]


@dataclass(frozen=True, slots=True)
class Member:
    """A replica of a service. `weight` is its version's share of the lanes in percent, if any."""

    version: str
    weight: int | None = None


def share_of_lanes(members: Mapping[str, Member], lanes: int = LANES) -> dict[int, str]:
    """Return the owner of every lane, by member id; empty if there are no members.

    The result depends on the membership alone, so that all members compute the same. Each version
    with a weight gets that percentage of the lanes, rounded, and the members without a weight
    share the rest. If there are only members with weights, their proportions count; a weight of 0
    never gets a lane, so that lanes may have no owner. A version without members gets nothing, so
    that its share flows back. The lanes of a version are selected by rendezvous hashing: raising
    its weight only adds lanes.

    Within a version, lanes go to members by bounded rendezvous hashing: of all pairs of lane and
    member, the highest score is assigned first, and a member is full at its fair share. The lanes
    that remain after division go to the first members that have a pair for them. Therefore loads
    differ by at most one, and few lanes move when a member starts or stops.
    """
    owners: dict[int, str] = {}
    for ids, pool in _pools(members, lanes):
        owners.update(_distribute(ids, pool))
    return owners


def _pools(members: Mapping[str, Member], lanes: int) -> list[tuple[list[str], list[int]]]:
    """Return groups of members and their lanes: one per version with a weight, and the rest."""
    weights: dict[str, int] = {}
    for member in members.values():
        if member.weight is not None:
            weights[member.version] = max(member.weight, weights.get(member.version, 0))
    rest = [id for id, member in members.items() if member.weight is None]
    counts = _lanes_per_version(weights, lanes, others=bool(rest))
    free = list(range(lanes))
    pools = []
    for version in sorted(weights):
        chosen = sorted(free, key=lambda lane: _score(version, lane), reverse=True)
        chosen = chosen[: counts[version]]
        free = [lane for lane in free if lane not in chosen]
        ids = [id for id, member in members.items() if member.version == version and member.weight]
        pools.append((ids, chosen))
    if rest:
        pools.append((rest, free))
    return pools


def _lanes_per_version(weights: Mapping[str, int], lanes: int, *, others: bool) -> dict[str, int]:
    """Return the number of lanes of each version with a weight.

    `others` is whether there are versions without a weight, which get the rest.
    """
    if others and sum(weights.values()) <= 100:
        counts = {version: (lanes * weight + 50) // 100 for version, weight in weights.items()}
        if sum(counts.values()) <= lanes:
            return counts
    # The method of Sainte-Laguë: a version never gets more lanes when the weight of another grows.
    counts = dict.fromkeys(sorted(weights), 0)
    for _ in range(lanes if any(weights.values()) else 0):
        neediest = max(counts, key=lambda version: weights[version] / (2 * counts[version] + 1))
        counts[neediest] += 1
    return counts


def _distribute(ids: Iterable[str], pool: Iterable[int]) -> dict[int, str]:
    """Return the owner of each lane of the pool among these members."""
    load = dict.fromkeys(sorted(ids), 0)
    lanes = list(pool)
    if not load:
        return {}
    fair, extra = divmod(len(lanes), len(load))
    pairs = sorted(((_score(id, lane), id, lane) for id in load for lane in lanes), reverse=True)
    owners: dict[int, str] = {}
    for _, id, lane in pairs:
        if lane in owners or load[id] > fair or (load[id] == fair and not extra):
            continue
        if load[id] == fair:
            extra -= 1
        load[id] += 1
        owners[lane] = id
    return owners


@lru_cache(maxsize=4096)
def _score(name: str, lane: int) -> int:
    """Return the pseudo-random score of a name for a lane."""
    return int.from_bytes(blake2b(f"{name}\0{lane}".encode(), digest_size=8).digest())
