"""Headers that the calls of a request carry on, whatever protocol the request came by.

A mesh that routes a request by a header can route the calls it causes the same way only if each
service hands the header on. The W3C headers of traces and baggage are `telemetry/tracing.py`'s.
"""

import re
import time
from collections.abc import Collection, Iterable
from contextvars import ContextVar
from typing import Annotated

import structlog
from pydantic import AfterValidator

__all__ = ["Forwarding", "HeaderName", "begin", "current"]

_log = structlog.get_logger(__name__)
_TOLD_SECONDS = 60.0
_headers: ContextVar[tuple[tuple[str, str], ...]] = ContextVar("forwarded", default=())

# Those that belong to one connection or one message, and those that are carried on anyway.
_OWN = frozenset({"connection", "content-length", "content-type", "host", "keep-alive", "te"})
_OWN |= {"trailer", "transfer-encoding", "upgrade", "user-agent"}
_TELEMETRY = frozenset({"traceparent", "tracestate", "baggage"})
_NAME = re.compile(r"[a-z0-9_.-]+")
# What gRPC takes as the value of a text key.
_VALUE = re.compile(r"[ -~]+")


def _name(name: str) -> str:
    name = name.lower()
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is no name that gRPC metadata can have: use a-z 0-9 _ - .")
    if name in _TELEMETRY:
        raise ValueError(f"{name} is carried on always; leave it out")
    if name in _OWN or name.startswith("grpc-") or name.endswith("-bin"):
        raise ValueError(f"{name} belongs to one message or is gRPC's own; leave it out")
    return name


HeaderName = Annotated[str, AfterValidator(_name)]
"""The name of a header that may be carried on, in lower case."""


class Forwarding:
    """Chooses what is carried on: the headers of these names, up to so many bytes in all."""

    def __init__(self, names: Collection[str], max_bytes: int) -> None:
        self._names = frozenset(names)
        self._http_names = frozenset(name.encode("ascii") for name in names)
        self._max_bytes = max_bytes
        self._tell_at = 0.0

    def of(self, headers: Iterable[tuple[str, str | bytes]]) -> tuple[tuple[str, str], ...]:
        """The headers to carry on, in their order; names are in lower case.

        A header that exceeds the limit together with those before it is left out, and so is one
        with characters other than printable ASCII.
        """
        chosen = []
        left = self._max_bytes
        for name, value in headers:
            if name not in self._names:
                continue
            size = len(name) + len(value)
            if not isinstance(value, str) or not _VALUE.fullmatch(value) or size > left:
                self._tell(name, size, left)
                continue
            left -= size
            chosen.append((name, value))
        return tuple(chosen)

    def of_http(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
        """The same for the headers of an ASGI request."""
        return self.of(
            (name.decode("ascii"), value.decode("latin-1"))
            for name, value in headers
            if name in self._http_names
        )

    def _tell(self, name: str, size: int, left: int) -> None:
        # Strangers choose the headers of their requests: not a line for each.
        now = time.monotonic()
        if now >= self._tell_at:
            self._tell_at = now + _TOLD_SECONDS
            _log.warning(
                "header not forwarded; its value is invalid or too large",
                header=name,
                bytes=size,
                bytes_left=left,
            )


def begin(headers: tuple[tuple[str, str], ...]) -> None:
    """What runs from here on, in this task or thread, carries these on with its calls."""
    _headers.set(headers)


def current() -> tuple[tuple[str, str], ...]:
    """The headers that a call made now carries on."""
    return _headers.get()
