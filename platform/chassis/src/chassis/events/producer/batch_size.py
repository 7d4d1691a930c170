"""The number of events in a batch: smaller after a batch that failed, larger after a stored one."""

__all__ = ["BatchSize"]

_FIRST_SINGLE_BATCHES = 16
_MAX_SINGLE_BATCHES = 256


class BatchSize:
    """A size `now` of at most `most`: halved after a failed batch, doubled after a stored one.

    So a slow link, an event that the stream refuses and a stream with little space left all end
    with batches that get through, or with a batch of one event.
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.now = most
        self._single_batches = 0
        self._single_batches_left = 0

    def failed(self, events: int) -> None:
        """Halve the size, because a batch of that many events was not stored."""
        self.now = max(1, events // 2)

    def lost_race(self) -> None:
        """Send single events for a while, because messages of other publishers came first.

        A single event wins such a race far more often than a batch. The number of single events
        doubles with each race that is lost.
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
