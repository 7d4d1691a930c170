"""Lanes: the partitions of each event type, chosen by the partition key."""

from functools import lru_cache

__all__ = ["LANES", "lane_of"]

LANES = 20
"""Lanes of every event type: a constant of the platform, written into each stream's metadata."""


@lru_cache(maxsize=16384)
def lane_of(key: str, lanes: int = LANES) -> int:
    """Return the lane of a partition key: FNV-1a 32 of its UTF-8, modulo the number of lanes.

    It equals nats-server's `partition(lanes, token)`.
    """
    value = 0x811C9DC5
    for byte in key.encode():
        value = (value ^ byte) * 0x01000193 & 0xFFFFFFFF
    return value % lanes
