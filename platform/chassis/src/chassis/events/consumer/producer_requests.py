"""The requests that a consumer makes to the producer of a stream."""

from collections.abc import Mapping

from nats.aio.client import Client

from chassis.events.wire import control_subjects, event_headers
from chassis.events.wire.resending import END, Missing

__all__ = ["CannotResend", "request_reconcile", "request_resend"]

_ANSWER_SECONDS = 5.0


class CannotResend(Exception):
    """The producer no longer has the events; the message says why."""


async def request_reconcile(client: Client, stream: str) -> None:
    """Ask the producer to compare its stream with its outbox now.

    This only saves time, because a producer also does so by itself: no answer is awaited.
    """
    if client.is_connected:
        await client.publish(control_subjects.wake_subject(stream), control_subjects.RECONCILE)


async def request_resend(
    client: Client, producer: str, missing: Missing
) -> list[tuple[Mapping[str, str], bytes]]:
    """Return headers and data of missing events: the first ones, as far as one answer holds them.

    Raises:
        CannotResend: the producer no longer has the first of them.
        LookupError: no replica of the producer answered.
    """
    inbox = client.new_inbox()
    subscription = await client.subscribe(inbox)
    events: list[tuple[Mapping[str, str], bytes]] = []
    try:
        await client.publish(
            control_subjects.resend_subject(producer), missing.to_json(), reply=inbox
        )
        while True:
            message = await subscription.next_msg(timeout=_ANSWER_SECONDS)
            headers = message.headers or {}
            if END in headers:
                break
            if headers.get("Status") == "503" and event_headers.NUMBER not in headers:
                raise LookupError(f"no replica of {producer} is running to resend them")
            events.append((headers, message.data))
    except TimeoutError:
        raise LookupError(f"{producer} did not answer") from None
    finally:
        await subscription.unsubscribe()
    if message.data:
        raise CannotResend(message.data.decode(errors="replace"))
    return events
