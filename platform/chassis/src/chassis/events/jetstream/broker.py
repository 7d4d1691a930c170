"""The service's connection to the broker: it comes up when the broker does, and stays."""

import asyncio
from collections.abc import Awaitable, Callable

import nats
import structlog
from nats.aio.msg import Msg

from chassis.events.jetstream.client import JetStreamClient
from chassis.events.jetstream.connection import close
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.wire import event_headers

__all__ = ["Broker"]

_log = structlog.get_logger(__name__)
_RECONNECT_SECONDS = 0.25
_CONNECT_SECONDS = 2
# A broker greets each client that connects, so that silence means that the network is the cause.
_SILENT = (
    f"no greeting within {_CONNECT_SECONDS} seconds: a NetworkPolicy may block the connection, or"
    " a mesh whose sidecar does not know that the Service's port is `appProtocol: tcp`"
)


def _is_published_to(subject: str, message: Msg) -> bool:
    """Whether a client published the message to the subject.

    The broker sends copies from a stream to a reply subject; these were not published there.
    """
    expected, actual = subject.split("."), message.subject.split(".")
    matches = len(expected) == len(actual) and all(
        token in ("*", other) for token, other in zip(expected, actual, strict=True)
    )
    return matches and not event_headers.is_delivered_copy(message.headers or {}, message.reply)


class Broker:
    """A connection that is made in the background, and made again whenever it breaks.

    `client` changes when the server has closed the connection permanently.
    """

    def __init__(self, options: NatsOptions, name: str) -> None:
        self._options = options
        self._name = name
        self.client = JetStreamClient(options)
        self.connected = asyncio.Event()
        self._subscriptions: list[tuple[str, str, Callable[[Msg], Awaitable[None]]]] = []
        self._connect_callbacks: list[Callable[[], Awaitable[None]]] = []
        self._disconnect_callbacks: list[Callable[[], None]] = []
        self._logged_outage = False
        self._reason = ""
        self._denials = set[str]()

    def subscribe(
        self, subject: str, hear: Callable[[Msg], Awaitable[None]], *, queue: str = ""
    ) -> None:
        """Subscribe to a subject on each connection, as soon as it is made. Call before `run`.

        Each message goes to one of the subscribers with the same `queue`. `hear` is not called for
        a message that the broker itself sends to the subject, as the answer to a request with this
        reply subject, because the right to publish there was not checked for it.
        """

        async def hear_published(message: Msg) -> None:
            if _is_published_to(subject, message):
                await hear(message)

        self._subscriptions.append((subject, queue, hear_published))

    def on_connected(self, call: Callable[[], Awaitable[None]]) -> None:
        """Call a function after each connect and reconnect."""
        self._connect_callbacks.append(call)

    def on_disconnected(self, call: Callable[[], None]) -> None:
        """Call a function whenever the connection has ended."""
        self._disconnect_callbacks.append(call)

    async def run(self) -> None:
        """Connect until cancelled, and again whenever the client has given up.

        The client reconnects by itself unless the server has closed the connection permanently.
        """
        while True:
            client, closed = JetStreamClient(self._options), asyncio.Event()
            self.client = client
            try:
                await self._connect(client, closed)
            except (OSError, nats.errors.Error, TimeoutError) as error:
                self._log_reason(error)
                await close(client)
            else:
                await self._on_connect()
                await closed.wait()
                _log.warning(
                    "broker closed the connection; reconnecting", error=str(client.last_error)
                )
                self._logged_outage = True
            await asyncio.sleep(_RECONNECT_SECONDS)

    async def _connect(self, client: JetStreamClient, closed: asyncio.Event) -> None:
        """Connect a client, and subscribe to all subjects."""

        async def is_closed() -> None:
            closed.set()

        async def failed(error: Exception) -> None:
            # A denied subscription is logged here, because no caller sees its error.
            self._log_denial(error)
            if client.is_connected:
                return
            self._log_reason(error)
            # The socket is closed here, because the library leaves that of a failed attempt open.
            client.close_socket()

        await client.connect(
            self._options.url,
            name=self._name,
            connect_timeout=_CONNECT_SECONDS,
            max_reconnect_attempts=-1,
            # The library accepts a float, too.
            reconnect_time_wait=_RECONNECT_SECONDS,  # type: ignore[arg-type]
            pending_size=0,  # A recreated broker must not receive what was meant for the old one.
            ping_interval=5,
            max_outstanding_pings=2,
            error_cb=failed,
            disconnected_cb=self._on_disconnect,
            reconnected_cb=self._on_connect,
            closed_cb=is_closed,
            **self._options.connect_arguments(),
        )
        for subject, queue, hear in self._subscriptions:
            await client.subscribe(subject, queue, cb=hear)

    async def close(self) -> None:
        """Close the connection, if there is one."""
        await close(self.client)

    def _log_denial(self, error: Exception) -> None:
        """Log each denial once."""
        reason = str(error)
        if "permissions violation" in reason.lower() and reason not in self._denials:
            self._denials.add(reason)
            _log.error(
                "broker denied access to a subject; correct and reload its permissions",
                error=reason,
            )

    def _log_reason(self, error: Exception) -> None:
        """Log each reason once, until the broker is connected."""
        silent = isinstance(error, TimeoutError)
        reason = _SILENT if silent else str(error) or type(error).__name__
        if reason != self._reason:
            _log.warning(
                "connecting to the broker failed; retrying", url=self._options.url, error=reason
            )
            self._logged_outage, self._reason = True, reason

    async def _on_connect(self) -> None:
        """Call all functions that wait for a connection."""
        self._reason = ""
        if self._logged_outage:
            _log.info("broker connected")
            self._logged_outage = False
        self.connected.set()
        for call in self._connect_callbacks:
            try:
                await call()
            except Exception as error:
                _log.warning(
                    "step after connecting to the broker failed; retrying",
                    step=call.__qualname__,
                    error=str(error),
                )

    async def _on_disconnect(self) -> None:
        """Call all functions that wait for the end of a connection."""
        if self.connected.is_set() and not self.client.is_closed:
            _log.warning("broker connection lost; reconnecting")
            self._logged_outage = True
        self.connected.clear()
        for call in self._disconnect_callbacks:
            call()
