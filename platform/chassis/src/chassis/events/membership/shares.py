"""The owner of each lane, computed from the membership alone."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from chassis.events.wire.lanes import LANES

__all__ = ["Member", "need_no_others", "share_of_lanes"]


@dataclass(frozen=True, slots=True)
class Member:
    """A replica of a service. `weight` is its version's share of the lanes in percent, if any."""

    version: str
    weight: int | None = None


def share_of_lanes(members: Mapping[str, Member], lanes: int = LANES) -> dict[int, str]:
    """Return the owner of every lane, by member id; empty if there are no members.

    The result depends on the membership alone, so that all members compute the same. Each version
    with a weight gets that percentage of the lanes, rounded, and the members without a weight
    share the rest. If there are none of these, the rest has no owner, because a canary must not
    get more than its weight while the stable version restarts. If the weights exceed 100 in all,
    their proportions count. A version without members gets nothing, so that its share flows back.
    The lanes of a version are selected by rendezvous hashing: raising its weight only adds lanes.

    Within a version, lanes go to members by bounded rendezvous hashing: of all pairs of lane and
    member, the highest score is assigned first, and a member is full at its fair share. The lanes
    that remain after division go to the first members that have a pair for them. Therefore loads
    differ by at most one, and few lanes move when a member starts or stops.
    """
    owners: dict[int, str] = {}
    for ids, pool in _pools(members, lanes):
        owners.update(_distribute(ids, pool))
    return owners


def need_no_others(members: Iterable[Member]) -> bool:
    """Return whether all members have a weight, and the weights of their versions leave no rest."""
    members = list(members)
    return all(m.weight is not None for m in members) and sum(_weights(members).values()) >= 100


def _weights(members: Iterable[Member]) -> dict[str, int]:
    """Return the weight of each version that has one: the highest of its members."""
    weights: dict[str, int] = {}
    for member in members:
        if member.weight is not None:
            weights[member.version] = max(member.weight, weights.get(member.version, 0))
    return weights


def _pools(members: Mapping[str, Member], lanes: int) -> list[tuple[list[str], list[int]]]:
    """Return groups of members and their lanes: one per version with a weight, and the rest."""
    weights = _weights(members.values())
    rest = [id for id, member in members.items() if member.weight is None]
    counts = _lanes_per_version(weights, lanes, rest=not need_no_others(members.values()))
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


def _lanes_per_version(weights: Mapping[str, int], lanes: int, *, rest: bool) -> dict[str, int]:
    """Return the number of lanes of each version with a weight.

    `rest` is whether lanes may be left for versions without a weight.
    """
    if rest and sum(weights.values()) <= 100:
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
