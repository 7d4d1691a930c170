"""Broadcast handlers, which every replica calls: no position, no retry, no effect."""

import asyncio
from collections.abc import Mapping

import structlog
from google.protobuf.message import Message
from nats.aio.msg import Msg
from structlog.contextvars import bound_contextvars

from chassis.events.handlers.binding import Handler
from chassis.events.handlers.failures import FAILURES
from chassis.events.jetstream.broker import Broker
from chassis.events.waiting import is_being_cancelled
from chassis.events.wire.attributes import Undecodable
from chassis.events.wire.contracts import subjects_of
from chassis.events.wire.decoding import decode
from chassis.events.wire.event_data import from_data

__all__ = ["subscribe_broadcasts"]

_log = structlog.get_logger(__name__)


def subscribe_broadcasts(broker: Broker, handlers: Mapping[str, list[Handler]]) -> None:
    """Call broadcast handlers, given by event type, for events as they are published."""
    for type, handlers_of_type in handlers.items():

        async def call_all(message: Msg, of_type: list[Handler] = handlers_of_type) -> None:
            for handler in of_type:
                await _call(handler, message)

        broker.subscribe(subjects_of(type), call_all)


async def _call(handler: Handler, message: Msg) -> None:
    """Decode a message and call its handler; log each failure, since nothing is retried."""
    try:
        received = decode(message.headers, message.data)
        event: Message = from_data(handler.message, received.datacontenttype, received.data)
    except Undecodable as error:
        _log.warning(
            "broadcast event cannot be decoded; skipping it",
            subject=message.subject,
            reason=str(error),
        )
        return
    with bound_contextvars(event_id=received.context.id):
        try:
            await handler(event, received.context)
        except (*FAILURES, asyncio.CancelledError):
            if is_being_cancelled():
                raise
            _log.exception(
                "broadcast handler failed; the event is not retried", handler=handler.name
            )
