"""The service's connection to the broker: it comes up when the broker does, and stays."""

import asyncio
from collections.abc import Awaitable, Callable

import nats
import structlog
from nats.aio.client import Client
from nats.aio.msg import Msg

from chassis.events.jetstream.client import JetStreamClient
from chassis.events.jetstream.connection import close
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.wire import transport

__all__ = ["Broker"]

_log = structlog.get_logger(__name__)
_RECONNECT_SECONDS = 0.25
_CONNECT_SECONDS = 2
# A broker greets whoever connects, so that its silence is the network's.
_SILENT = (
    f"it said nothing within {_CONNECT_SECONDS} seconds: a NetworkPolicy may keep it away,"
    " or a mesh whose sidecar does not know that its Service's port is `appProtocol: tcp`"
)


def _is_published_to(subject: str, message: Msg) -> bool:
    """Whether a message was published to the subject.

    A copy that the broker sent from a stream was not, even if it keeps its subject.
    """
    wanted, given = subject.split("."), message.subject.split(".")
    same = len(wanted) == len(given) and all(
        token in ("*", there) for token, there in zip(wanted, given, strict=True)
    )
    return same and not transport.is_delivered_copy(message.headers or {}, message.reply)


class Broker:
    """A connection that is made in the background and made again whenever it breaks.

    `client` is another one after the server has closed the connection for good.
    """

    def __init__(self, options: NatsOptions, name: str) -> None:
        self._options = options
        self._name = name
        self.client: Client = JetStreamClient(options)
        self.connected = asyncio.Event()
        self._subscriptions: list[tuple[str, str, Callable[[Msg], Awaitable[None]]]] = []
        self._on_connected: list[Callable[[], Awaitable[None]]] = []
        self._on_disconnected: list[Callable[[], None]] = []
        self._told_away = False
        self._reason = ""
        self._denials = set[str]()

    def subscribe(
        self, subject: str, hear: Callable[[Msg], Awaitable[None]], *, queue: str = ""
    ) -> None:
        """Hear what is published, from each connection's first moment on. Call before `run`.

        Of those that name the same `queue` one hears each message. What the broker sends to this
        subject because somebody wants the answer to a request there was not published by who may
        publish it, and is not heard.
        """

        async def hear_published(message: Msg) -> None:
            if _is_published_to(subject, message):
                await hear(message)

        self._subscriptions.append((subject, queue, hear_published))

    def on_connected(self, call: Callable[[], Awaitable[None]]) -> None:
        """Call after the first connection and after each later one."""
        self._on_connected.append(call)

    def on_disconnected(self, call: Callable[[], None]) -> None:
        self._on_disconnected.append(call)

    async def run(self) -> None:
        """Connect, as often as it takes, until cancelled.

        The client reconnects by itself, but for what the server has refused for good.
        """
        while True:
            client, closed = JetStreamClient(self._options), asyncio.Event()
            self.client = client
            try:
                await self._connect(client, closed)
            except (OSError, nats.errors.Error, TimeoutError) as error:
                self._tell_why(error)
                await close(client)
            else:
                await self._found()
                await closed.wait()
                _log.warning(
                    "broker closed the connection; reconnecting", error=str(client.last_error)
                )
                self._told_away = True
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _connect(self, client: Client, closed: asyncio.Event) -> None:
        async def is_closed() -> None:
            closed.set()

        async def failed(error: Exception) -> None:
            # Callers see most errors of a connection; a denied subscription has no caller.
            self._tell_denied(error)
            if client.is_connected:
                return
            self._tell_why(error)
            # The library forgets the socket of an attempt that failed, and leaves it open.
            if client._transport:
                client._transport.close()  # type: ignore[no-untyped-call]

        await client.connect(
            self._options.url,
            name=self._name,
            connect_timeout=_CONNECT_SECONDS,
            max_reconnect_attempts=-1,
            reconnect_time_wait=_RECONNECT_SECONDS,  # type: ignore[arg-type] # a float is fine
            pending_size=0,  # nothing is held back for a broker made anew
            ping_interval=5,
            max_outstanding_pings=2,
            error_cb=failed,
            disconnected_cb=self._lost,
            reconnected_cb=self._found,
            closed_cb=is_closed,
            **self._options.connect_arguments(),
        )
        for subject, queue, hear in self._subscriptions:
            await client.subscribe(subject, queue, cb=hear)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        await close(self.client)

    def _tell_denied(self, error: Exception) -> None:
        """Each denial once."""
        reason = str(error)
        if "permissions violation" in reason.lower() and reason not in self._denials:
            self._denials.add(reason)
            _log.error(
                "broker denied access to a subject; correct and reload its permissions",
                error=reason,
            )

    def _tell_why(self, error: Exception) -> None:
        """Each reason once, until the broker is back."""
        silent = isinstance(error, TimeoutError)
        reason = _SILENT if silent else str(error) or type(error).__name__
        if reason != self._reason:
            _log.warning(
                "connecting to the broker failed; retrying", url=self._options.url, error=reason
            )
            self._told_away, self._reason = True, reason

    async def _found(self) -> None:
        self._reason = ""
        if self._told_away:
            _log.info("broker connected")
            self._told_away = False
        self.connected.set()
        for call in self._on_connected:
            try:
                await call()
            except Exception as error:
                _log.warning(
                    "work after connecting to the broker failed; retrying", error=str(error)
                )

    async def _lost(self) -> None:
        if self.connected.is_set() and not self.client.is_closed:
            _log.warning("broker connection lost; reconnecting")
            self._told_away = True
        self.connected.clear()
        for call in self._on_disconnected:
            call()
