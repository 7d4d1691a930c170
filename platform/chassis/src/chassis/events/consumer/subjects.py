"""The subjects that a reader reads, and the filters of its consumer."""

from collections.abc import Collection, Iterable

from chassis.events.wire.contracts import subject_of, subjects_of
from chassis.events.wire.lanes import LANES

__all__ = ["consumer_filters", "subjects_of_lanes"]


def subjects_of_lanes(lanes: Iterable[int], types: Iterable[str]) -> list[str]:
    """Return the subjects of these types in these lanes, lane by lane."""
    types = list(types)
    return [subject_of(type, lane) for lane in lanes for type in types]


def consumer_filters(subjects: Collection[str], types: Collection[str]) -> list[str]:
    """Return the fewest filters that select these subjects, out of all lanes of these types."""
    if len(subjects) == LANES * len(types):
        return [subjects_of(type) for type in types]
    return sorted(subjects)
