"""How many events a reader commits at once after conflicts with other transactions.

Two replicas whose handlers change the same rows may deadlock, since each locks rows in the order of
its events. PostgreSQL ends a deadlock only after a second, and a batch that runs again as a whole
would meet the next one. With a quarter of the events per commit, a deadlock is far less likely.
"""

__all__ = ["ConflictLimit"]

_COMMITS = 1000


class ConflictLimit:
    """A limit that each conflict quarters, and that doubles after 1,000 commits without one.

    At first, and again once it has reached `events`, it limits nothing.
    """

    def __init__(self, events: int) -> None:
        self._full = events
        self._commits = 0
        self.events = events
        """The most events to commit at once."""

    def conflicted(self, events: int) -> None:
        """Note that a commit of this number of events met a conflict."""
        self.events = max(1, events // 4)
        self._commits = 0

    def committed(self) -> None:
        """Note a commit without a conflict."""
        if self.events == self._full:
            return
        self._commits += 1
        if self._commits == _COMMITS:
            self._commits = 0
            self.events = min(self._full, 2 * self.events)
