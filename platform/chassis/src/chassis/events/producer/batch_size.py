"""The number of events in a batch: smaller after a batch without an answer, larger after others."""

__all__ = ["BatchSize"]

_FIRST_SINGLE_BATCHES = 16
_MAX_SINGLE_BATCHES = 256


class BatchSize:
    """A size `now` of at most `most`: halved after a batch that failed, doubled after a stored one.

    So a slow link ends with batches that get through in time, or with a batch of one event.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.now = most
        self._single_batches = 0
        self._single_batches_left = 0

    def limit(self, most: int) -> None:
        """Change the greatest size."""
        self.most = most
        self.now = min(self.now, most)

    def failed(self, events: int) -> None:
        """Halve the size, because a batch of that many events got no answer in time."""
        self.now = max(1, events // 2)

    def send_single(self) -> None:
        """Send single events for a while, because the stream refused a batch as such.

        Other publishers may be faster: a single event wins such a race far more often than a batch.
        The number of single events doubles with each batch that is refused in a row.
        """
        self.now = 1
        doubled = 2 * self._single_batches or _FIRST_SINGLE_BATCHES
        self._single_batches = min(_MAX_SINGLE_BATCHES, doubled)
        self._single_batches_left = self._single_batches

    def stored(self) -> None:
        """Double the size, because a batch was stored, unless single events are still due."""
        if self._single_batches_left:
            self._single_batches_left -= 1
            return
        if self.now > 1:
            self._single_batches = 0
        self.now = min(self.most, 2 * self.now)
