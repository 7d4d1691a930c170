"""The event path's settings."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

__all__ = ["EventSettings"]


class EventSettings(BaseSettings):
    """Inherited by every service's settings."""

    nats_domain: str = Field(
        "",
        pattern=r"^[^\s.*>]*$",
        description="the JetStream domain with the streams; empty is the broker's own",
    )
    nats_user: str = Field("", description="user at the broker, with its password")
    nats_password: SecretStr = Field(SecretStr(""), description="password of that user")
    nats_token: SecretStr = Field(SecretStr(""), description="token to show the broker")
    nats_credentials_file: Path | None = Field(
        None, description=".creds file with a user's JWT and seed; read at each connection"
    )
    nats_nkey_seed_file: Path | None = Field(
        None, description="file with an nkey's seed; read at each connection"
    )
    nats_tls_ca_file: Path | None = Field(
        None, description="certificates (PEM) that the broker's is checked by, else the system's"
    )
    nats_tls_certificate_file: Path | None = Field(
        None, description="certificate (PEM) to show the broker; read at each connection"
    )
    nats_tls_key_file: Path | None = Field(None, description="key (PEM) of that certificate")
    nats_tls_server_name: str = Field(
        "", description="name in the broker's certificate, if it is not that of the URL"
    )
    nats_tls_first: bool = Field(
        False, description="TLS before the broker says anything, as its handshake_first asks for"
    )
    event_format: Literal["protobuf", "json"] = Field(
        "protobuf", description="how published events are encoded"
    )
    event_max_bytes: int = Field(
        512 * 1024, gt=0, description="largest event, headers included, in bytes"
    )
    stream_max_age_seconds: float = Field(
        7 * 24 * 3600, gt=0, description="how long the service's stream keeps events"
    )
    outbox_keep_seconds: float = Field(
        8 * 24 * 3600,
        ge=0,
        description="how long sent events stay in the outbox, to be sent again; at least an hour "
        "longer than the stream keeps them",
    )
    stream_replicas: int = Field(1, ge=1, le=5, description="copies of the stream in the cluster")
    member_ttl_seconds: int = Field(
        5, ge=1, description="a replica not heard of for so long is gone, in whole seconds"
    )
    # A handler of lists may name each of them in one statement: below SQLite's 32,766 parameters.
    batch_max_events: int = Field(
        500, ge=1, le=10_000, description="most events taken in one commit"
    )
    task_tries: int = Field(5, ge=1, description="tries before an event becomes a dead letter")
    task_backoff_seconds: float = Field(
        0.5, gt=0, description="wait before the second try; doubled for each further one"
    )
    task_backoff_max_seconds: float = Field(300, gt=0, description="longest wait between tries")
    task_max_age_seconds: float = Field(
        24 * 3600, gt=0, description="how long a called service may be unavailable"
    )
    task_lease_seconds: float = Field(
        10, gt=0, description="a claimed task not renewed for so long is anybody's"
    )
    dead_letter_max_age_seconds: float | None = Field(
        None,
        gt=0,
        description="dead letters older than this are deleted; without it they stay until an "
        "operator redrives or drops them",
    )
    mark_max_age_seconds: float = Field(
        24 * 3600, gt=0, description="how long marks of a replica that is gone are kept"
    )
    long_transaction_seconds: float = Field(
        10, gt=0, description="a transaction that holds its thread for so long is said in the log"
    )
    task_timeout_seconds: float = Field(
        60,
        gt=0,
        description="how long one attempt of an async handler may take; it costs a try to be late",
    )
    task_concurrency: int = Field(
        16,
        ge=1,
        description="tasks a replica runs at once; no event type has all places to itself, "
        "if the service handles several",
    )
    relay_sweep_seconds: float = Field(
        5, gt=0, description="the outbox is looked at this often even if nothing woke the relay"
    )
    relay_ask_seconds: float = Field(
        60, gt=0, description="the stream is compared with the outbox this often"
    )
    net_seconds: float = Field(
        5, gt=0, description="a reader compares its positions with the stream this often"
    )
    stopped_retry_seconds: float = Field(
        30, gt=0, description="a stopped lane is tried again this often"
    )
    foreign_id_seconds: float = Field(
        7 * 24 * 3600,
        gt=0,
        description="an event of a foreign producer that comes again so late is taken again",
    )
    log_events: bool = Field(
        False, description="log one line for each event that took effect, with its id and key"
    )

    def current(self, name: str) -> str:
        """A secret as its mounted file has it now; as it was read at the start if it has none."""
        secret: SecretStr = getattr(self, name)
        return secret.get_secret_value()
