"""Headers of an HTTP or gRPC request that are forwarded with the calls that it causes.

A mesh can route those calls by the same headers only if each service forwards them. The W3C headers
of traces and baggage are forwarded by `telemetry/trace_context.py`.
"""

import re
import time
from collections.abc import Collection, Iterable
from contextvars import ContextVar
from typing import Annotated

from pydantic import AfterValidator

__all__ = ["Forwarding", "HeaderName", "begin", "current"]

_WARNING_SECONDS = 60.0
_headers: ContextVar[tuple[tuple[str, str], ...]] = ContextVar("forwarded", default=())

# Headers that belong to a single message or connection, and headers that are always forwarded.
_PER_MESSAGE = frozenset(
    {"connection", "content-length", "content-type", "host", "keep-alive", "te"}
)
_PER_MESSAGE |= {"trailer", "transfer-encoding", "upgrade", "user-agent"}
_TELEMETRY = frozenset({"traceparent", "tracestate", "baggage"})
_NAME = re.compile(r"[a-z0-9_.-]+")
# The values that gRPC accepts for a text key.
_VALUE = re.compile(r"[ -~]+")


def _checked_name(name: str) -> str:
    """Return the name in lower case; raise ValueError if it must not be forwarded."""
    name = name.lower()
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a valid name of gRPC metadata; use a-z 0-9 _ - .")
    if name in _TELEMETRY:
        raise ValueError(f"{name} is always forwarded; leave it out")
    if name in _PER_MESSAGE or name.startswith("grpc-") or name.endswith("-bin"):
        raise ValueError(f"{name} belongs to a single message or to gRPC itself; leave it out")
    return name


HeaderName = Annotated[str, AfterValidator(_checked_name)]
"""The name of a header that may be forwarded, in lower case."""


class Forwarding:
    """The choice of headers to forward: those with these names, up to `max_bytes` in all."""

    def __init__(self, names: Collection[str], max_bytes: int) -> None:
        self._names = frozenset(names)
        self._http_names = frozenset(name.encode("ascii") for name in names)
        self._max_bytes = max_bytes
        self._next_warning = 0.0

    def select(self, headers: Iterable[tuple[str, str | bytes]]) -> tuple[tuple[str, str], ...]:
        """Return the headers to forward, in their order; their names are in lower case.

        A header is left out if it exceeds the limit together with those before it, or if its value
        has characters other than printable ASCII.
        """
        chosen = []
        left = self._max_bytes
        for name, value in headers:
            if name not in self._names:
                continue
            size = len(name) + len(value)
            if not isinstance(value, str) or not _VALUE.fullmatch(value) or size > left:
                self._warn(name, size, left)
                continue
            left -= size
            chosen.append((name, value))
        return tuple(chosen)

    def select_http(self, headers: Iterable[tuple[bytes, bytes]]) -> tuple[tuple[str, str], ...]:
        """Return the headers of an ASGI request to forward, as `select`."""
        return self.select(
            (name.decode("ascii"), value.decode("latin-1"))
            for name, value in headers
            if name in self._http_names
        )

    def _warn(self, name: str, size: int, left: int) -> None:
        """Log that a header is not forwarded, at most once a minute."""
        # Clients choose the headers of their requests, so the log gets at most one line a minute.
        now = time.monotonic()
        if now >= self._next_warning:
            self._next_warning = now + _WARNING_SECONDS
            # It is imported here, because tools that read settings do not log.
            import structlog

            structlog.get_logger(__name__).warning(
                "header not forwarded; its value is invalid or too large",
                header=name,
                bytes=size,
                bytes_left=left,
            )


def begin(headers: tuple[tuple[str, str], ...]) -> None:
    """Forward these headers with all calls that this task or thread makes from now on."""
    _headers.set(headers)


def current() -> tuple[tuple[str, str], ...]:
    """Return the headers that are forwarded with a call made now."""
    return _headers.get()
