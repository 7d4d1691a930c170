"""slipway.v1.LedgerService, which the platform serves in every service with a database."""

from collections.abc import Awaitable, Callable

from google.protobuf.message import Message
from nats.errors import Error as NatsError

from chassis.errors import Unavailable
from chassis.events.consumer.lag import LagUnknown
from chassis.events.jetstream.api import JetStreamError
from chassis.events.ledger import EventLedger
from chassis.rpc.methods import Method
from slipway.v1 import GetEventLedgerRequest, GetEventLedgerResponse, LedgerService

__all__ = ["ledger_service"]


def ledger_service(ledger: Callable[[], Awaitable[EventLedger]]) -> tuple[str, list[Method]]:
    """Return the contract's name and its method, which counts by `ledger`."""

    async def get_event_ledger(_: Message, __: object) -> GetEventLedgerResponse:
        try:
            counted = await ledger()
        except (NatsError, TimeoutError) as error:
            raise Unavailable("the broker is unavailable, so the lag cannot be counted") from error
        except (JetStreamError, LagUnknown) as error:
            raise Unavailable(f"the lag cannot be counted: {error}") from error
        return GetEventLedgerResponse(
            unsent=counted.unsent,
            lag=counted.lag,
            tasks=counted.tasks,
            dead_letters=counted.dead_letters,
            stopped=counted.stopped,
        )

    method = Method(
        "GetEventLedger",
        GetEventLedgerRequest,
        GetEventLedgerResponse,
        "async",
        get_event_ledger,
    )
    return LedgerService.full_name, [method]
