"""Lets a bounded number of requests in, and of event streams apart: those are long."""

from collections.abc import Callable
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from chassis.admission import Admission
from chassis.errors import Overloaded
from chassis.http import problems

__all__ = ["Door", "Place", "place_of"]

_PLACE = "slipway.place"


class Place:
    """What a request holds while it is at work."""

    def __init__(self, requests: Admission, streams: Admission) -> None:
        self.leave: Callable[[], None] = requests.leave
        self._streams = streams

    def becomes_stream(self) -> None:
        """It holds the place of an event stream from now on, and no request's any more.

        Raises:
            Overloaded: there are too many streams.
        """
        self._streams.enter_at_once()
        self.leave()
        self.leave = self._streams.leave


def place_of(scope: Scope) -> Place | None:
    """The place of the request with this scope; None if nobody counts them."""
    place: Any = scope.get(_PLACE)
    return place if isinstance(place, Place) else None


class Door:
    """The middleware. Who waits too long, or finds too many waiting, is answered 503.

    `open_to` are paths that are always let in: who asks how a service is must get an answer when
    it has the most to do.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        requests: Admission,
        streams: Admission,
        open_to: frozenset[str],
    ) -> None:
        self._app = app
        self._requests = requests
        self._streams = streams
        self._open_to = open_to

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in self._open_to:
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
