"""Asks a producer for events that its stream no longer shows."""

from collections.abc import Mapping

from nats.aio.client import Client

from chassis.events.wire import transport
from chassis.events.wire.resending import END, Missing

__all__ = ["Gone", "ask"]

_ANSWER_SECONDS = 5.0


class Gone(Exception):
    """The producer cannot send them again; the message says why."""


async def ask(
    client: Client, producer: str, missing: Missing
) -> list[tuple[Mapping[str, str], bytes]]:
    """Headers and data of the missing events, from the first on, as many as fit into one answer.

    Raises:
        Gone: the producer no longer has the first of them.
        LookupError: nobody answered.
    """
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    events: list[tuple[Mapping[str, str], bytes]] = []
    try:
        await client.publish(transport.resend_subject(producer), missing.to_json(), reply=inbox)
        while True:
            message = await subscription.next_msg(timeout=_ANSWER_SECONDS)
            headers = message.headers or {}
            if END in headers:
                break
            if headers.get("Status") == "503" and transport.NUMBER not in headers:
                raise LookupError(f"no replica of {producer} is there to send them again")
            events.append((headers, message.data))
    except TimeoutError:
        raise LookupError(f"{producer} did not answer") from None
    finally:
        await subscription.unsubscribe()
    if message.data:
        raise Gone(message.data.decode(errors="replace"))
    return events
