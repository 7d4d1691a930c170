"""The options with which a process connects to the broker: the same for all its connections.

Files are read at each connect and reconnect, so that a certificate or a credential can be renewed
while the service runs.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from chassis.certificates import Certificates
from chassis.event_settings import EventSettings
from chassis.events.wire import control_subjects

__all__ = ["NatsOptions"]

# X509_V_ERR_HOSTNAME_MISMATCH and X509_V_ERR_IP_ADDRESS_MISMATCH of OpenSSL's x509_vfy.h.
_NAME_MISMATCH = frozenset({62, 64})


@dataclass(frozen=True, slots=True)
class NatsOptions:
    """The broker's URL, its JetStream domain ("" is the server's own), credentials and TLS."""

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
    inbox_prefix: str = control_subjects.INBOX

    @classmethod
    def of(cls, url: str, settings: EventSettings, service: str = "") -> "NatsOptions":
        """Return the options of the settings, with the inbox of `service`, or the shared one."""
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
            control_subjects.inbox_prefix(service) if service else control_subjects.INBOX,
        )

    @property
    def encrypted(self) -> bool:
        """Whether nothing may be sent to a broker that does not offer TLS."""
        tls = self.certificates.any or self.server_name or self.tls_first
        return bool(tls) or urlsplit(self.url).scheme in ("tls", "wss")

    def explain_distrust(self, error: ssl.SSLCertVerificationError) -> str:
        """Return why the broker's certificate was refused, and the setting that changes it."""
        why = f"certificate verify failed: {error.verify_message.rstrip('.')}"
        if error.verify_code in _NAME_MISMATCH:
            return f"{why}: APP_NATS_TLS_SERVER_NAME is the name in the broker's certificate"
        trusted = self.certificates.ca or "not set: the system's authorities"
        return (
            f"{why}: the authority that signed the broker's certificate has to be in "
            f"APP_NATS_TLS_CA_FILE ({trusted})"
        )

    def connect_arguments(self) -> dict[str, Any]:
        """Return the keyword arguments for `Client.connect`; the URL is not among them."""
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
        """Return the user's JWT and the seed that it signs with, each None if there is none.

        Raises:
            OSError, ValueError: the file cannot be read, or does not hold them.
        """
        if self.credentials_file:
            text = self.credentials_file.read_bytes()
            return _read_section(text, b"NATS USER JWT"), bytearray(
                _read_section(text, b"USER NKEY SEED")
            )
        if self.nkey_seed_file:
            return None, bytearray(self.nkey_seed_file.read_bytes().strip())
        return None, None


def _read_section(text: bytes, name: bytes) -> bytes:
    """Return the line below `-----BEGIN <name>-----` of a credentials file."""
    lines = [line.strip() for line in text.splitlines()]
    for line, following in pairwise(lines):
        if b"BEGIN " + name in line and following:
            return following
    raise ValueError(f"it has no {name.decode()}")
