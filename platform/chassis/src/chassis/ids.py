"""Identifiers that sort by the time they were made."""

import os
import threading
import time

__all__ = ["uuid7"]

_COUNTER_BITS = 42
_lock = threading.Lock()
_last_millisecond = -1
_counter = 0


def uuid7() -> str:
    """A UUIDv7 (RFC 9562), greater than all that this process has made before.

    48 bits of milliseconds, then a counter of 42 bits that begins anew at a random value in each
    millisecond, then 32 random bits.
    """
    global _counter, _last_millisecond
    tail = os.urandom(4).hex()
    with _lock:
        now = time.time_ns() // 1_000_000
        if now > _last_millisecond:
            _last_millisecond = now
            # The highest bit is left for counting.
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


def _begin_anew() -> None:
    global _last_millisecond, _lock
    _lock = threading.Lock()
    # The child's next id takes a new millisecond with a counter of its own.
    _last_millisecond = min(_last_millisecond, time.time_ns() // 1_000_000 - 1)


os.register_at_fork(after_in_child=_begin_anew)
