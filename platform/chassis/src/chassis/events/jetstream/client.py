"""The NATS client of all connections: it reads credentials at each connect, and checks TLS."""

import base64
import ssl
from typing import Any, cast

from nats.aio.client import Client
from nats.aio.subscription import Subscription
from nats.aio.transport import Transport
from nats.errors import ConnectionClosedError, Error, SecureConnWantedError

from chassis.events.jetstream.delivery import (
    COPY_OF_A_COPY,
    Delivery,
    DeliveryParser,
    Receive,
    note_copy_of_a_copy,
)
from chassis.events.jetstream.handshake import ConnectWithPing
from chassis.events.jetstream.header_block import parse_header_block
from chassis.events.jetstream.nats_options import NatsOptions
from chassis.events.jetstream.signing import describe_without_secrets, key_pair

__all__ = ["COPY_OF_A_COPY", "JetStreamClient", "api_subject"]


class JetStreamClient(Client):
    """A client that presents what the files of its options hold at each connect.

    `api_prefix` is the prefix of the JetStream API, which depends on the domain. `parser` reads
    what the broker sends.
    """

    def __init__(self, options: NatsOptions) -> None:
        super().__init__()
        domain = options.domain
        self.api_prefix = f"$JS.{domain}.API" if domain else "$JS.API"
        # `options` is an attribute of the library's.
        self._nats_options = options
        self.parser = DeliveryParser(self, self._headers_of)
        # The library reads by the parser of this name.
        self._ps = self.parser

    @property
    def ssl_context(self) -> ssl.SSLContext:
        """A TLS context of the certificates as they are now."""
        try:
            return self._nats_options.certificates.context()
        except ValueError as error:
            raise Error(f"nats: the certificate cannot be used: {error}") from error

    async def receive(self, subject: str, receive: Receive) -> Subscription:
        """Subscribe to a subject; `receive` gets each message as soon as it is read.

        Raises:
            nats.errors.ConnectionClosedError: the client is closed.
        """
        subscription = await self.subscribe(subject)
        # The parser knows a subscription by its id, which the library has no public name for.
        self.parser.receivers[subscription._id] = receive  # noqa: SLF001
        return subscription

    async def stop_receiving(self, subscription: Subscription) -> None:
        """End a subscription of `receive`. Messages that come nevertheless are dropped.

        Raises:
            nats.errors.Error: the client is closed.
        """
        self.parser.receivers.pop(subscription._id, None)  # noqa: SLF001
        await subscription.unsubscribe()

    async def send_commands(self, commands: bytes) -> None:
        """Send commands of the NATS client protocol.

        Raises:
            nats.errors.ConnectionClosedError: the client is not connected.
        """
        if not self.is_connected:
            raise ConnectionClosedError
        await self._send_command(commands)
        await self._flush_pending()

    def close_socket(self) -> None:
        """Close the socket, and leave the client to reconnect."""
        if self._transport:
            self._transport.close()  # type: ignore[no-untyped-call]

    def abort_socket(self) -> None:
        """Close the socket without writing what is buffered."""
        writer = getattr(self._transport, "_io_writer", None)
        if writer is not None:
            writer.transport.abort()

    _parse_header_lines = staticmethod(parse_header_block)

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        """Parse headers, and note a second mark of a copy."""
        parsed: dict[str, str] | None = await super()._process_headers(headers)
        if parsed:
            note_copy_of_a_copy(parsed, headers)
        return parsed

    async def _headers_of(self, block: bytes) -> dict[str, str]:
        """Return the headers of a block, in which the library notes a status of the server."""
        return await self._process_headers(block) or {}

    async def _process_msg(
        self, sid: int, subject: bytes, reply: bytes, data: bytes, headers: bytes
    ) -> None:
        """Hand over a message that the library has read, to where its subscription leads."""
        receive = self.parser.receivers.get(sid)
        if receive is None:
            await super()._process_msg(sid, subject, reply, data, headers)
            return
        size = len(data) + len(headers or b"")
        parsed = await self._headers_of(headers)
        receive(Delivery(subject.decode(), reply.decode(), parsed, data, size))

    async def _process_connect_init(self) -> None:
        """Connect, with errors that name the setting to change."""
        connected = self._transport
        assert connected is not None
        self._transport = cast(Transport, ConnectWithPing(connected))
        try:
            await super()._process_connect_init()
        except ssl.SSLCertVerificationError as error:
            raise Error(f"nats: {self._nats_options.explain_distrust(error)}") from error
        except (ConnectionError, ssl.SSLError) as error:
            if self._server_info.get("tls_verify"):
                raise Error(
                    "nats: the broker refused the certificate of APP_NATS_TLS_CERTIFICATE_FILE: "
                    f"{error}"
                ) from error
            raise
        finally:
            self._transport = connected

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        """Check the broker's greeting before anything is sent."""
        # The check is needed because an attacker in between may remove the offer of TLS from the
        # broker's greeting.
        options = self._nats_options
        encrypted = options.tls_first or info.get("tls_required")
        if initial_connection and options.encrypted and not encrypted:
            raise SecureConnWantedError
        if initial_connection and info.get("tls_verify") and not options.certificates.key:
            raise Error(
                "nats: the broker asks for a certificate: set APP_NATS_TLS_CERTIFICATE_FILE and "
                "APP_NATS_TLS_KEY_FILE"
            )
        await super()._process_info(info, initial_connection)

    def _connect_command(self) -> bytes:
        """Return the CONNECT command, signed with the key of the options."""
        # Any other kind of error would end the library's reconnecting permanently.
        try:
            self._set_signature()
            command: bytes = super()._connect_command()
        except (OSError, Error):
            raise
        except Exception as error:
            said = describe_without_secrets(error)
            raise Error(f"nats: credentials cannot be used: {said}") from error
        return command

    def _set_signature(self) -> None:
        """Sign the broker's nonce with the key of the options, if there is one."""
        jwt, seed = self._nats_options.jwt_and_seed()
        if seed is None:
            return
        pair = key_pair(seed)
        nonce = str(self._server_info.get("nonce", ""))
        signature = base64.b64encode(pair.sign(nonce.encode()))
        self._public_nkey = pair.public_key.decode()
        pair.wipe()
        self._signature_cb = lambda _nonce: signature
        self._user_jwt_cb = None if jwt is None else lambda: bytearray(jwt)
        self._auth_configured = True


def api_subject(client: Client, subject: str) -> str:
    """Return a subject of the JetStream API with the client's prefix."""
    prefix = client.api_prefix if isinstance(client, JetStreamClient) else "$JS.API"
    return f"{prefix}.{subject}"
