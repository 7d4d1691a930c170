"""Places for the tasks that a member runs concurrently; no type occupies all of them."""

from collections import Counter
from collections.abc import Collection, Iterable

__all__ = ["Places"]


class Places:
    """A fixed number of places for tasks, shared between event types.

    One type never has them all, even when nothing else is due: its attempts may hang. A quarter
    stays for the others, and a place for each of them that has none at the moment. Where there are
    more types than places, one place stays free of the type that asks.
    """

    def __init__(self, types: Collection[str], places: int) -> None:
        self._types = len(types)
        self._places = places
        self._taken: Counter[str] = Counter()

    def take(self, type: str) -> None:
        self._taken[type] += 1

    def give_back(self, type: str) -> None:
        self._taken[type] -= 1

    def share(self, due: Iterable[str]) -> dict[str, int]:
        """Number of further tasks of each type in `due` that may run; earlier types come first."""
        free = self._places - self._taken.total()
        shares: dict[str, int] = {}
        for type in due:
            more = min(free, self._most() - self._taken[type], free - self._reserved(type, shares))
            if not self._taken[type] and free > 0:
                more = max(more, 1)
            if more > 0:
                shares[type] = more
                free -= more
        return shares

    def _most(self) -> int:
        """Maximum number of places of one type."""
        if self._types <= 1:
            return self._places
        return max(1, self._places - max(1, self._places // 4))

    def _reserved(self, type: str, shares: Collection[str]) -> int:
        """Places that are kept for other types that have none."""
        if self._types > self._places:
            return 0
        having = {t for t, taken in self._taken.items() if taken} | set(shares) | {type}
        return self._types - len(having)
