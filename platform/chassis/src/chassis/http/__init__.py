"""HTTP: what a service adds to its probes."""

from chassis.http.sse import ServerSentEvent, event_stream

__all__ = ["ServerSentEvent", "event_stream"]
