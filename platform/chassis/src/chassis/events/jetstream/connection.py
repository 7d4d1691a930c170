"""A connection to the broker that never reconnects by itself and buffers nothing.

What a reconnecting one holds back would be written into a stream just made anew.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from nats.aio.client import Client

from chassis.events.jetstream.client import JetStreamClient
from chassis.events.jetstream.nats_options import NatsOptions

__all__ = ["close", "connection"]

_CONNECT_SECONDS = 2
_CLOSE_SECONDS = 1


@asynccontextmanager
async def connection(options: NatsOptions, name: str) -> AsyncIterator[Client]:
    """Connected for as long as the block runs; it is interrupted where it waits when that ends.

    Raises:
        ConnectionError: the connection was lost.
        OSError, nats.errors.Error: there was none to be had.
    """
    client = JetStreamClient(options)
    try:
        async with asyncio.timeout(None) as block:

            async def lost() -> None:
                with contextlib.suppress(RuntimeError):  # the block has ended already
                    block.reschedule(asyncio.get_running_loop().time())

            await client.connect(
                options.url,
                name=name,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=_CONNECT_SECONDS,
                error_cb=_quiet,
                closed_cb=lost,
                **options.connect_arguments(),
            )
            yield client
    except TimeoutError as error:
        if block.expired():
            raise ConnectionError("the broker is away") from error
        raise
    finally:
        await close(client)


async def close(client: Client) -> None:
    """Flush and close; drop the connection if the broker takes nothing or has reset it."""
    try:
        await asyncio.wait_for(client.close(), _CLOSE_SECONDS)
    except Exception:
        # The client has no way to drop a connection without writing what it still holds.
        writer = getattr(client._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()


async def _quiet(_error: Exception) -> None:
    """What is wrong shows where the connection is used."""
