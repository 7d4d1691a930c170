"""A router whose handlers have a fault; tests copy this module into the image of a service.

The environment says which: CANARY_FAULT is `fails`, `slow`, `doubles` or empty. CANARY_HANDLER
names the handler that has the fault; all have it if it is empty. CANARY_SEED chooses the keys that
fail.
"""

import os
import time
import zlib
from collections.abc import Callable, Sequence
from functools import wraps
from typing import Any, TypeVar

from google.protobuf.message import Message

from chassis import EventRouter
from chassis.events.handlers.router import Start

__all__ = ["FaultyRouter", "published"]

F = TypeVar("F", bound=Callable[..., Any])

_FAULT = os.environ.get("CANARY_FAULT", "")
_HANDLER = os.environ.get("CANARY_HANDLER", "")
_SEED = os.environ.get("CANARY_SEED", "")
_FAILING_PERCENT = 3
_SLOWER = 5


class FaultyRouter(EventRouter):
    """A router that gives the named handler the fault when it is declared."""

    def on(self, message: type[Message], *, start: Start = "oldest") -> Callable[[F], F]:
        register = super().on(message, start=start)
        return lambda function: register(_faulty(function))

    def on_batch(self, message: type[Message], *, start: Start = "oldest") -> Callable[[F], F]:
        register = super().on_batch(message, start=start)
        return lambda function: register(_faulty(function))


def published(amount: int) -> int:
    """Return the amount that this version publishes."""
    return 2 * amount if _FAULT == "doubles" else amount


def _faulty(function: F) -> F:
    if _HANDLER not in ("", function.__name__):
        return function

    @wraps(function)
    def failing(**given: Any) -> Any:
        if any(_fails(key) for key in _keys(given.values())):
            raise RuntimeError("the canary cannot handle this order")
        return function(**given)

    @wraps(function)
    def slow(**given: Any) -> Any:
        began = time.perf_counter()
        try:
            return function(**given)
        finally:
            time.sleep((_SLOWER - 1) * (time.perf_counter() - began))

    faults: dict[str, Any] = {"fails": failing, "slow": slow}
    found: F = faults.get(_FAULT, function)
    return found


def _keys(arguments: Any) -> list[str]:
    """Return the ids of the orders that a handler is called for."""
    return [
        str(each.order_id)
        for argument in arguments
        for each in (argument if isinstance(argument, Sequence) else [argument])
        if hasattr(each, "order_id")
    ]


def _fails(key: str) -> bool:
    return zlib.crc32(f"{_SEED} {key}".encode()) % 100 < _FAILING_PERCENT
