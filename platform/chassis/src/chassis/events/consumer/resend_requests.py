"""The missing events of a member's stopped lanes, requested from the producer."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.position import Position, position_of
from chassis.events.consumer.producer_requests import CannotResend, request_resend
from chassis.events.consumer.stopped_lanes import Stop, StoppedLanes
from chassis.events.jetstream.broker import Broker

__all__ = ["ResendRequests"]

_log = structlog.get_logger(__name__)
_Resent = tuple[Mapping[str, str], bytes]


class ResendRequests:
    """Requests missing events in the background, so that no other lane waits for a producer.

    `on_resent` is called when events have come; `collect` returns them.
    """

    def __init__(
        self,
        producer: str,
        broker: Broker,
        stopped_lanes: StoppedLanes,
        on_resent: Callable[[], None],
    ) -> None:
        self._producer = producer
        self._broker = broker
        self._stopped_lanes = stopped_lanes
        self._on_resent = on_resent
        self._running: dict[int, asyncio.Task[None]] = {}
        self._resent: dict[str, list[_Resent]] = {}

    def request(self, stop: Stop) -> None:
        """Request the events that a lane misses, unless a request for it is running.

        If the event above the gap has no rank, no relay has sent it, and nothing is requested.
        """
        if stop.missing and stop.missing.below_rank and stop.lane not in self._running:
            request = asyncio.create_task(self._request(stop))
            self._running[stop.lane] = request
            request.add_done_callback(lambda _: self._running.pop(stop.lane, None))

    def collect(self, positions: Mapping[str, Position]) -> list[Arrival]:
        """Return the events that have come for these subjects since the last call.

        They have no place in the stream, so that each gets the sequence of its subject's position.
        """
        resent, self._resent = self._resent, {}
        return [
            arrival
            for subject, events in resent.items()
            if subject in positions
            for arrival in _arrivals(subject, events, positions[subject].sequence)
        ]

    def cancel(self) -> None:
        """Cancel the requests that are running."""
        for request in self._running.values():
            request.cancel()

    async def _request(self, stop: Stop) -> None:
        """Request the missing events, and resume the lane or say why it stays stopped."""
        assert stop.missing
        try:
            events = await request_resend(self._broker.client, self._producer, stop.missing)
        except CannotResend as reason:
            why = f"{reason}; `events skip` continues without them"
            self._stopped_lanes.add_reason(stop, why)
        except LookupError as error:
            self._stopped_lanes.add_reason(stop, f"{error}; retrying")
        except Exception as error:
            # Without a connection to the broker; the request is repeated when the stop is due.
            _log.debug("request for missing events failed; retrying", error=repr(error))
        else:
            self._resent[stop.subject] = events
            self._stopped_lanes.resume(stop)
            self._on_resent()


def _arrivals(subject: str, events: Sequence[_Resent], sequence: int) -> list[Arrival]:
    """Return resent events as if they had arrived at this sequence of the stream."""
    type, _, lane = subject.rpartition(".")
    return [
        Arrival(subject, type, int(lane), position_of(headers, sequence), headers, data)
        for headers, data in events
    ]
