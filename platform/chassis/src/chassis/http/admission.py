"""Limits of concurrent HTTP requests and, separately because they last long, of event streams."""

from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from chassis.admission import Admission
from chassis.errors import Overloaded
from chassis.http import problems

__all__ = ["AdmissionLimit", "Place", "place_of"]

_PLACE = "slipway.place"


class Place:
    """The place that a running request occupies; `leave` frees it."""

    def __init__(self, requests: Admission, streams: Admission) -> None:
        self.leave: Callable[[], None] = requests.leave
        self._streams = streams

    def become_stream(self) -> None:
        """Exchange the place of a request for that of an event stream.

        Raises:
            Overloaded: no place for a stream is free.
        """
        self._streams.enter_at_once()
        self.leave()
        self.leave = self._streams.leave


def place_of(scope: Scope) -> Place | None:
    """Return the place of the request with this scope; None without this middleware."""
    place: Any = scope.get(_PLACE)
    return place if isinstance(place, Place) else None


class AdmissionLimit:
    """Middleware that answers a request with 503 if it gets no place in time.

    Requests for `exempt` paths need no place, because probes must be answered under any load.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        requests: Admission,
        streams: Admission,
        exempt: frozenset[str],
    ) -> None:
        self._app = app
        self._requests = requests
        self._streams = streams
        self._exempt = exempt

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._exempt:
            await self._app(scope, receive, send)
            return
        try:
            await self._requests.enter()
        except Overloaded as error:
            await problems.answer(error)(scope, receive, send)
            return
        place = scope[_PLACE] = Place(self._requests, self._streams)
        try:
            await self._app(scope, receive, send)
        finally:
            place.leave()
