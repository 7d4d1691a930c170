"""How the broker is reached: in one place for both connections.

Files are read at each connection and each return of one, so that a certificate or a credential may
be renewed while the service runs.
"""

import base64
import ssl
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from nats.aio.client import Client
from nats.errors import Error, SecureConnWantedError

from chassis.certificates import Certificates, unreadable
from chassis.event_settings import EventSettings
from chassis.events.wire import transport

__all__ = ["COPY_OF_A_COPY", "JetStreamClient", "NatsOptions", "api_subject", "problems"]

COPY_OF_A_COPY = "slipway-copy-of-a-copy"
"""The header of what was read from a stream and was a copy already when it was stored there."""
# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL's x509_vfy.h.
_OTHER_NAME = frozenset({62, 64})
_COPIED_FROM = f"\r\n{transport.COPIED_FROM}:".encode()


@dataclass(frozen=True, slots=True)
class NatsOptions:
    """The broker's URL, which JetStream domain is meant ("" is the server's own), and who asks."""

    url: str
    domain: str = ""
    user: str = ""
    password: Callable[[], str] = field(default=str, repr=False)
    token: Callable[[], str] = field(default=str, repr=False)
    credentials_file: Path | None = None
    nkey_seed_file: Path | None = None
    certificates: Certificates = field(default=Certificates("APP_NATS_TLS_"))
    server_name: str = ""
    tls_first: bool = False
    inbox_prefix: str = transport.INBOX

    @classmethod
    def of(cls, url: str, settings: EventSettings, service: str = "") -> "NatsOptions":
        """As the settings have it; answers come to the inbox of `service`, or to anybody's."""
        return cls(
            url,
            settings.nats_domain,
            settings.nats_user,
            lambda: settings.current("nats_password"),
            lambda: settings.current("nats_token"),
            settings.nats_credentials_file,
            settings.nats_nkey_seed_file,
            Certificates(
                "APP_NATS_TLS_",
                settings.nats_tls_ca_file,
                settings.nats_tls_certificate_file,
                settings.nats_tls_key_file,
            ),
            settings.nats_tls_server_name,
            settings.nats_tls_first,
            transport.inbox_prefix(service) if service else transport.INBOX,
        )

    @property
    def encrypted(self) -> bool:
        """Whether nothing may be said to a broker that offers no TLS."""
        tls = self.certificates.any or self.server_name or self.tls_first
        return bool(tls) or urlsplit(self.url).scheme in ("tls", "wss")

    def distrusted(self, error: ssl.SSLCertVerificationError) -> str:
        """Why the broker's certificate was refused, and which setting says whom to trust."""
        why = f"certificate verify failed: {error.verify_message.rstrip('.')}"
        if error.verify_code in _OTHER_NAME:
            return f"{why}: APP_NATS_TLS_SERVER_NAME is the name in the broker's certificate"
        trusted = self.certificates.ca or "not set: the system's authorities"
        return (
            f"{why}: the authority that signed the broker's certificate has to be in "
            f"APP_NATS_TLS_CA_FILE ({trusted})"
        )

    def client(self) -> "JetStreamClient":
        """A client that is not connected yet."""
        return JetStreamClient(self)

    def arguments(self) -> dict[str, Any]:
        """What `Client.connect` is told, beside the URL."""
        options: dict[str, Any] = {
            "tls_handshake_first": self.tls_first,
            "inbox_prefix": self.inbox_prefix,
        }
        if self.server_name:
            options["tls_hostname"] = self.server_name
        if self.user:
            options |= {"user": self.user, "password": self.password}
        elif self.token():
            options["token"] = self.token
        return options

    def jwt_and_seed(self) -> tuple[bytes | None, bytearray | None]:
        """The user's JWT and the seed it signs with, each None if there is none.

        Raises:
            OSError, ValueError: the file cannot be read, or does not hold them.
        """
        if self.credentials_file:
            text = self.credentials_file.read_bytes()
            return _part(text, b"NATS USER JWT"), bytearray(_part(text, b"USER NKEY SEED"))
        if self.nkey_seed_file:
            return None, bytearray(self.nkey_seed_file.read_bytes().strip())
        return None, None


class JetStreamClient(Client):
    """A client that presents what the files hold at the moment.

    It knows under which prefix its server, or another domain, has its JetStream.
    """

    def __init__(self, options: NatsOptions) -> None:
        super().__init__()
        domain = options.domain
        self.api_prefix = f"$JS.{domain}.API" if domain else "$JS.API"
        self._chosen = options

    @property
    def ssl_context(self) -> ssl.SSLContext:
        try:
            return self._chosen.certificates.context()
        except ValueError as error:
            raise Error(f"nats: the certificate cannot be used: {error}") from error

    async def _process_headers(self, headers: bytes) -> dict[str, str] | None:
        parsed: dict[str, str] | None = await super()._process_headers(headers)
        if parsed and headers.count(_COPIED_FROM) > 1:
            parsed[COPY_OF_A_COPY] = "1"  # one value of a name is all that the library keeps
        return parsed

    async def _process_connect_init(self) -> None:
        try:
            await super()._process_connect_init()
        except ssl.SSLCertVerificationError as error:
            raise Error(f"nats: {self._chosen.distrusted(error)}") from error
        except (ConnectionError, ssl.SSLError) as error:
            if self._server_info.get("tls_verify"):
                raise Error(
                    "nats: the broker refused the certificate of APP_NATS_TLS_CERTIFICATE_FILE: "
                    f"{error}"
                ) from error
            raise

    async def _process_info(self, info: dict[str, Any], initial_connection: bool = False) -> None:
        # Whoever stands between may take the offer of TLS out of the broker's greeting.
        encrypted = self._chosen.tls_first or info.get("tls_required")
        if initial_connection and self._chosen.encrypted and not encrypted:
            raise SecureConnWantedError
        if initial_connection and info.get("tls_verify") and not self._chosen.certificates.key:
            raise Error(
                "nats: the broker asks for a certificate: set APP_NATS_TLS_CERTIFICATE_FILE and "
                "APP_NATS_TLS_KEY_FILE"
            )
        await super()._process_info(info, initial_connection)

    def _connect_command(self) -> bytes:
        # An error of another kind would end the library's reconnecting for good.
        try:
            self._present()
            command: bytes = super()._connect_command()
        except (OSError, Error):
            raise
        except Exception as error:
            raise Error(f"nats: credentials cannot be used: {_kind(error)}") from error
        return command

    def _present(self) -> None:
        jwt, seed = self._chosen.jwt_and_seed()
        if seed is None:
            return
        pair = _key_pair(seed)
        nonce = str(self._server_info.get("nonce", ""))
        signature = base64.b64encode(pair.sign(nonce.encode()))
        self._public_nkey = pair.public_key.decode()
        pair.wipe()
        self._signature_cb = lambda _nonce: signature
        self._user_jwt_cb = None if jwt is None else lambda: bytearray(jwt)
        self._auth_configured = True


def api_subject(client: Client, subject: str) -> str:
    """A subject of the JetStream API, given without its prefix."""
    prefix = client.api_prefix if isinstance(client, JetStreamClient) else "$JS.API"
    return f"{prefix}.{subject}"


def problems(url: str, settings: EventSettings) -> Iterator[str]:
    """What is wrong with the settings of the broker, a line each."""
    options = NatsOptions.of(url, settings)
    given = {
        "APP_NATS_CREDENTIALS_FILE": options.credentials_file,
        "APP_NATS_NKEY_SEED_FILE": options.nkey_seed_file,
        "APP_NATS_TOKEN": options.token(),
        "APP_NATS_USER": options.user,
        "APP_NATS_URL": "@" in urlsplit(url).netloc,
    }
    several = [name for name, value in given.items() if value]
    if len(several) > 1:
        yield f"{several[0]}: cannot be combined with {several[1]}: set one of them"
    if bool(options.user) != bool(options.password()):
        missing, other = ("PASSWORD", "USER") if options.user else ("USER", "PASSWORD")
        yield f"APP_NATS_{missing}: is required with APP_NATS_{other}"
    yield from options.certificates.problems()
    files = {
        "APP_NATS_CREDENTIALS_FILE": options.credentials_file,
        "APP_NATS_NKEY_SEED_FILE": options.nkey_seed_file,
    }
    broken = list(unreadable(files))
    yield from broken
    if not broken:
        yield from _unusable(options)


def _unusable(options: NatsOptions) -> Iterator[str]:
    name = "CREDENTIALS" if options.credentials_file else "NKEY_SEED"
    try:
        _, seed = options.jwt_and_seed()
        if seed is not None:
            _key_pair(seed)
    except Exception as error:
        yield f"APP_NATS_{name}_FILE: cannot be used: {_kind(error)}"


def _part(text: bytes, name: bytes) -> bytes:
    """What a credentials file holds between its lines of dashes."""
    lines = [line.strip() for line in text.splitlines()]
    for line, following in pairwise(lines):
        if b"BEGIN " + name in line and following:
            return following
    raise ValueError(f"no {name.decode()} in it")


def _key_pair(seed: bytearray) -> Any:
    import nkeys  # type: ignore[import-untyped] # only where somebody signs

    return nkeys.from_seed(seed)


def _kind(error: Exception) -> str:
    """What went wrong, without anything that a file holds."""
    return str(error) if isinstance(error, (OSError, ValueError)) else type(error).__name__
