"""Identifiers that sort by the time of their creation."""

import os
import threading
import time

__all__ = ["uuid7"]

_COUNTER_BITS = 42
_lock = threading.Lock()
_last_millisecond = -1
_counter = 0


def uuid7() -> str:
    """Return a UUIDv7 (RFC 9562) that is greater than all that this process returned before.

    It has 48 bits of milliseconds, a counter of 42 bits that restarts at a random value in each
    millisecond, and 32 random bits.
    """
    global _counter, _last_millisecond
    tail = os.urandom(4).hex()
    with _lock:
        now = time.time_ns() // 1_000_000
        if now > _last_millisecond:
            _last_millisecond = now
            # The highest bit is 0 at first, so that the counter has room to grow.
            _counter = int.from_bytes(os.urandom(6)) >> (48 - _COUNTER_BITS + 1)
        else:
            _counter += 1
            if _counter >> _COUNTER_BITS:
                _counter = 0
                _last_millisecond += 1
        millisecond, counter = _last_millisecond, _counter
    head = f"{millisecond:012x}"
    high = 0x7000 | counter >> 30
    middle = 0x8000 | (counter >> 16) & 0x3FFF
    return f"{head[:8]}-{head[8:]}-{high:04x}-{middle:04x}-{counter & 0xFFFF:04x}{tail}"


def _restart_in_child() -> None:
    """Give a forked process its own lock and counter, so that its ids differ from its parent's."""
    global _last_millisecond, _lock
    _lock = threading.Lock()
    # The next id sees a new millisecond and therefore draws a new random counter.
    _last_millisecond = min(_last_millisecond, time.time_ns() // 1_000_000 - 1)


os.register_at_fork(after_in_child=_restart_in_child)
