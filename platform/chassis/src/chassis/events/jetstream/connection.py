"""A connection to the broker that never reconnects by itself and buffers nothing.

The messages that a reconnecting client buffers would be written into a stream that was recreated in
the meantime.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from chassis.events.jetstream.client import JetStreamClient
from chassis.events.jetstream.nats_options import NatsOptions

__all__ = ["close", "connection"]

_CONNECT_SECONDS = 2
_CLOSE_SECONDS = 1


@asynccontextmanager
async def connection(options: NatsOptions, name: str) -> AsyncIterator[JetStreamClient]:
    """Connect while the block runs; interrupt the block where it waits if the connection ends.

    Raises:
        ConnectionError: the connection was lost.
        OSError, nats.errors.Error: it could not be made.
    """
    client = JetStreamClient(options)
    try:
        async with asyncio.timeout(None) as block:

            async def lost() -> None:
                with contextlib.suppress(RuntimeError):  # The block has ended already.
                    block.reschedule(asyncio.get_running_loop().time())

            await client.connect(
                options.url,
                name=name,
                allow_reconnect=False,
                max_reconnect_attempts=1,
                reconnect_time_wait=0,
                connect_timeout=_CONNECT_SECONDS,
                # Above this size the library waits until all is written, and a cancellation of
                # that is lost.
                pending_size=0,
                error_cb=_ignore,
                closed_cb=lost,
                **options.connect_arguments(),
            )
            yield client
    except TimeoutError as error:
        if block.expired():
            raise ConnectionError("the connection to the broker was lost") from error
        raise
    finally:
        await close(client)


async def close(client: JetStreamClient) -> None:
    """Flush and close a client; drop its connection if that fails or takes too long."""
    try:
        await asyncio.wait_for(client.close(), _CLOSE_SECONDS)
    except Exception:
        client.abort_socket()


async def _ignore(_error: Exception) -> None:
    """Ignore the error, because the code that uses the connection sees it."""
