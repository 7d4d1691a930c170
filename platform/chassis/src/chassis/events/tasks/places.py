"""Places for the tasks that a member runs concurrently; no type occupies all of them."""

from collections import Counter
from collections.abc import Collection, Iterable

__all__ = ["Places"]


class Places:
    """A fixed number of places for tasks, shared between event types.

    A type never has all places, even when nothing else is due, because its attempts may hang. A
    quarter of the places stays free for other types, and one place for each type that has none at
    the moment. If there are more types than places, one place stays free of any single type.
    """

    def __init__(self, types: Collection[str], places: int) -> None:
        self._types = len(types)
        self._places = places
        self._occupied: Counter[str] = Counter()

    def occupy(self, type: str) -> None:
        """Occupy a place for a task of a type."""
        self._occupied[type] += 1

    def vacate(self, type: str) -> None:
        """Vacate a place of a type."""
        self._occupied[type] -= 1

    def share(self, due: Iterable[str]) -> dict[str, int]:
        """Return how many more tasks of each due type may run; earlier types come first."""
        free = self._places - self._occupied.total()
        shares: dict[str, int] = {}
        for type in due:
            occupied = self._occupied[type]
            more = min(
                free, self._max_of_one_type() - occupied, free - self._count_reserved(type, shares)
            )
            if not occupied and free > 0:
                more = max(more, 1)
            if more > 0:
                shares[type] = more
                free -= more
        return shares

    def _max_of_one_type(self) -> int:
        """Return the maximum number of places of one type."""
        if self._types <= 1:
            return self._places
        return max(1, self._places - max(1, self._places // 4))

    def _count_reserved(self, type: str, shares: Collection[str]) -> int:
        """Return the number of places to keep for other types that have none."""
        if self._types > self._places:
            return 0
        having = {t for t, occupied in self._occupied.items() if occupied} | set(shares) | {type}
        return self._types - len(having)
