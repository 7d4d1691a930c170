"""HTTP for a service's own routes: transactions and server-sent events."""

from chassis.http.sse import ServerSentEvent, event_stream
from chassis.http.transactions import RouteRead, RouteTransact

__all__ = ["RouteRead", "RouteTransact", "ServerSentEvent", "event_stream"]
