"""How many events go into a batch: fewer where a batch does not get through, more where it does."""

__all__ = ["BatchSize"]


class BatchSize:
    """`now` of at most `most`: halved for each batch that failed, doubled for each that was stored.

    So a slow link, an event that the stream refuses, a stream with little room left, and strangers
    that are faster each time all end with batches that get through, or with one event alone.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.now = most

    def failed(self, events: int) -> int:
        """A batch of so many did not get through; how many to try next."""
        self.now = max(1, events // 2)
        return self.now

    def stored(self) -> None:
        """A batch got through."""
        self.now = min(self.most, 2 * self.now)
