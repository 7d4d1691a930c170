"""TLS of gRPC by the settings: certificates of the server and of the service's calls.

Changed files are loaded while the service runs: by the server at each new connection, by a client
about once a second. Files that cannot be used, such as one that is being written, change nothing.
"""

import asyncio
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import grpc
import grpc.aio
import structlog

from chassis.certificates import Certificates
from chassis.settings import ServiceSettings

__all__ = [
    "RenewedChannel",
    "call_certificates",
    "channel_credentials",
    "problems",
    "server_credentials",
]

_log = structlog.get_logger(__name__)
_LOOK_SECONDS = 1.0


def problems(settings: ServiceSettings) -> Iterator[str]:
    """Yield what is wrong with the settings of TLS, a line each."""
    server = _server_certificates(settings)
    if server.ca and not (server.certificate or server.key):
        yield (
            "APP_GRPC_TLS_CERTIFICATE_FILE: is required with APP_GRPC_TLS_CLIENT_CA_FILE; "
            "clients show a certificate only to a server that has one"
        )
    yield from server.problems()
    yield from call_certificates(settings).problems()


def _server_certificates(settings: ServiceSettings) -> Certificates:
    """Return the server's certificate, and the authorities that its clients are checked by."""
    return Certificates(
        "APP_GRPC_TLS_",
        settings.grpc_tls_client_ca_file,
        settings.grpc_tls_certificate_file,
        settings.grpc_tls_key_file,
        "CLIENT_CA_FILE",
    )


def call_certificates(settings: ServiceSettings) -> Certificates:
    """Return the certificate for calls, and the authorities that called services are checked by."""
    return Certificates(
        "APP_CALL_TLS_",
        settings.call_tls_ca_file,
        settings.call_tls_certificate_file,
        settings.call_tls_key_file,
    )


def server_credentials(settings: ServiceSettings) -> grpc.ServerCredentials | None:
    """Return the credentials of the server, None if it is without TLS.

    Changed files are loaded before the next handshake.
    """
    files = _server_certificates(settings)
    if files.certificate is None:
        return None
    loaded = files.stamp()

    def renewed() -> grpc.ServerCertificateConfiguration | None:
        # gRPC calls this before each handshake, on a thread of its own.
        nonlocal loaded
        try:
            stamp = files.stamp()
            if stamp == loaded:
                return None
            files.check()
            configuration = _configuration(files)
        except (OSError, ValueError) as error:
            _log.warning("new certificate cannot be used; keeping the old one", error=str(error))
            return None
        loaded = stamp
        return configuration

    credentials: grpc.ServerCredentials = grpc.dynamic_ssl_server_credentials(
        _configuration(files),
        # A None means no change, which the types of the library do not say.
        renewed,  # type: ignore[arg-type]
        require_client_authentication=files.ca is not None,
    )
    return credentials


def _configuration(files: Certificates) -> grpc.ServerCertificateConfiguration:
    """Read the files of a server's TLS."""
    return grpc.ssl_server_certificate_configuration(
        [(_read(files.key) or b"", _read(files.certificate) or b"")], _read(files.ca)
    )


def channel_credentials(settings: ServiceSettings) -> grpc.ChannelCredentials | None:
    """Return the credentials for calls from the files as they are now, None without TLS."""
    files = call_certificates(settings)
    if not (settings.call_tls or settings.call_tls_server_name or files.any):
        return None
    return grpc.ssl_channel_credentials(_read(files.ca), _read(files.key), _read(files.certificate))


def _read(path: Path | None) -> bytes | None:
    return None if path is None else path.read_bytes()


class RenewedChannel:
    """A channel that is replaced when the files of its certificates change.

    Calls that run on the old channel finish there, for at most `end_seconds`.
    """

    def __init__(
        self, make: Callable[[], grpc.aio.Channel], files: Certificates, *, end_seconds: float
    ) -> None:
        self._make = make
        self._files = files
        self._end_seconds = end_seconds
        self._stamp = files.stamp()
        self._look_at = time.monotonic() + _LOOK_SECONDS
        self._channel = make()
        self._ending: set[asyncio.Task[None]] = set()

    def current(self) -> grpc.aio.Channel:
        """Return the channel for the next call."""
        if self._files.any and time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + _LOOK_SECONDS
            self._renew()
        return self._channel

    def _renew(self) -> None:
        """Replace the channel if the files of its certificates have changed."""
        stamp = self._files.stamp()
        if stamp == self._stamp:
            return
        try:
            self._files.check()
            channel = self._make()
        except (OSError, ValueError) as error:
            _log.warning("new certificate cannot be used; keeping the old one", error=str(error))
            return
        end = asyncio.create_task(self._channel.close(self._end_seconds))
        self._ending.add(end)
        end.add_done_callback(self._ending.discard)
        self._channel, self._stamp = channel, stamp

    async def close(self) -> None:
        """Close the channel, and cancel running calls."""
        for end in self._ending:
            end.cancel()
        await self._channel.close()
