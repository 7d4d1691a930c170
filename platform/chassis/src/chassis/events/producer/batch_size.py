"""How many events go into a batch: fewer where a batch does not get through, more where it does."""

__all__ = ["BatchSize"]

_FIRST_PATIENCE = 16
_MOST_PATIENCE = 256


class BatchSize:
    """`now` of at most `most`: halved for each batch that failed, doubled for each that was stored.

    So a slow link, an event that the stream refuses and a stream with little room left all end with
    batches that get through, or with one event alone.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.now = most
        self._patience = 0
        self._left = 0

    def failed(self, events: int) -> None:
        """A batch of so many did not get through."""
        self.now = max(1, events // 2)

    def raced(self) -> None:
        """A stranger was faster. An event alone goes through many times as fast as any batch.

        It stays so for a while, each time longer.
        """
        self.now = 1
        self._patience = min(_MOST_PATIENCE, 2 * self._patience or _FIRST_PATIENCE)
        self._left = self._patience

    def stored(self) -> None:
        """A batch got through."""
        if self._left:
            self._left -= 1
            return
        if self.now > 1:
            self._patience = 0
        self.now = min(self.most, 2 * self.now)
