"""HTTP: what a service adds to its probes."""

from chassis.http.sse import ServerSentEvent, event_stream
from chassis.http.transactions import RouteRead, RouteTransact

__all__ = ["RouteRead", "RouteTransact", "ServerSentEvent", "event_stream"]
