"""Identifiers that sort by the time of their creation."""

import os
import threading
import time

__all__ = ["IdSequence", "uuid7"]

_COUNTER_BITS = 42


class IdSequence:
    """Ids of which each is greater than all before it, on any thread.

    `millisecond` and `counter` are those of the last id.
    """

    def __init__(self, *, millisecond: int = -1, counter: int = 0) -> None:
        self._lock = threading.Lock()
        self._millisecond = millisecond
        self._counter = counter

    def next(self) -> str:
        """Return the next id."""
        tail = os.urandom(4).hex()
        with self._lock:
            now = time.time_ns() // 1_000_000
            if now > self._millisecond:
                self._millisecond = now
                # The highest bit is 0 at first, so that the counter has room to grow.
                self._counter = int.from_bytes(os.urandom(6)) >> (48 - _COUNTER_BITS + 1)
            else:
                self._counter += 1
                if self._counter >> _COUNTER_BITS:
                    self._counter = 0
                    self._millisecond += 1
            millisecond, counter = self._millisecond, self._counter
        head = f"{millisecond:012x}"
        high = 0x7000 | counter >> 30
        middle = 0x8000 | (counter >> 16) & 0x3FFF
        return f"{head[:8]}-{head[8:]}-{high:04x}-{middle:04x}-{counter & 0xFFFF:04x}{tail}"

    def restart_in_child(self) -> None:
        """Give a forked process its own lock and counter; its ids differ from its parent's."""
        self._lock = threading.Lock()
        # The next id sees a new millisecond and therefore draws a new random counter.
        self._millisecond = min(self._millisecond, time.time_ns() // 1_000_000 - 1)


_sequence = IdSequence()
os.register_at_fork(after_in_child=_sequence.restart_in_child)


def uuid7() -> str:
    """Return a UUIDv7 (RFC 9562) that is greater than all that this process returned before.

    It has 48 bits of milliseconds, a counter of 42 bits that restarts at a random value in each
    millisecond, and 32 random bits.
    """
    return _sequence.next()
