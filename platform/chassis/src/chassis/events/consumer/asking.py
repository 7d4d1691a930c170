"""What a member's stopped lanes miss, asked of the producer and kept until it is taken."""

import asyncio
from collections.abc import Callable, Mapping, Sequence

import structlog

from chassis.events.consumer import resend_request
from chassis.events.consumer.arrival import Arrival
from chassis.events.consumer.positions import Position, position_of
from chassis.events.consumer.stopped_lanes import Stop, Stops
from chassis.events.jetstream.broker import Broker

__all__ = ["Asking"]

_log = structlog.get_logger(__name__)
Sent = tuple[Mapping[str, str], bytes]


class Asking:
    """Asks in the background: a producer that does not answer holds no other lane up.

    `on_sent` is called when something has come; `take` gives it.
    """

    def __init__(
        self, producer: str, broker: Broker, stops: Stops, on_sent: Callable[[], None]
    ) -> None:
        self._producer = producer
        self._broker = broker
        self._stops = stops
        self._on_sent = on_sent
        self._asked: dict[int, asyncio.Task[None]] = {}
        self._sent: dict[str, list[Sent]] = {}

    def ask(self, stop: Stop) -> None:
        """Ask for what this lane misses, unless it is being asked for.

        Below an event without a rank there is nothing a relay has sent.
        """
        if stop.missing and stop.missing.below_rank and stop.lane not in self._asked:
            asked = asyncio.create_task(self._ask(stop))
            self._asked[stop.lane] = asked
            asked.add_done_callback(lambda _: self._asked.pop(stop.lane, None))

    def take(self, at: Mapping[str, Position]) -> list[Arrival]:
        """What has come since, as arrivals that go on from these positions.

        They have no place in the stream: each keeps that of the position before it.
        """
        sent, self._sent = self._sent, {}
        return [
            arrival
            for subject, events in sent.items()
            if subject in at
            for arrival in _arrivals(subject, events, at[subject].sequence)
        ]

    def close(self) -> None:
        """Ask no more."""
        for asked in self._asked.values():
            asked.cancel()

    async def _ask(self, stop: Stop) -> None:
        assert stop.missing
        try:
            events = await resend_request.ask(self._broker.client, self._producer, stop.missing)
        except resend_request.Gone as gone:
            why = f"{gone}, so it cannot send them again; `events skip` goes on without them"
            self._stops.explain(stop, why)
        except LookupError as error:
            self._stops.explain(stop, f"{error}; it is asked again")
        except Exception as error:  # without a broker it is asked again
            _log.debug("request for missing events failed; retrying", error=repr(error))
        else:
            self._sent[stop.subject] = events
            self._stops.go_on(stop)
            self._on_sent()


def _arrivals(subject: str, events: Sequence[Sent], sequence: int) -> list[Arrival]:
    type, _, lane = subject.rpartition(".")
    return [
        Arrival(subject, type, int(lane), position_of(headers, sequence), headers, data)
        for headers, data in events
    ]
