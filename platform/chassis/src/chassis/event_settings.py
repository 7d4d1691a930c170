"""The event path's settings."""

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings

__all__ = ["EventSettings"]


class EventSettings(BaseSettings):
    """The event path's settings in every service; the class is long because it is a list."""

    nats_domain: str = Field(
        "",
        pattern=r"^[^\s.*>]*$",
        description="JetStream domain of the streams; if empty, the broker's own",
    )
    nats_user: str = Field("", description="user name at the broker, together with its password")
    nats_password: SecretStr = Field(SecretStr(""), description="password of that user")
    nats_token: SecretStr = Field(SecretStr(""), description="token to authenticate at the broker")
    nats_credentials_file: Path | None = Field(
        None, description=".creds file with a user's JWT and seed; read at each connection"
    )
    nats_nkey_seed_file: Path | None = Field(
        None, description="file with an nkey's seed; read at each connection"
    )
    nats_tls_ca_file: Path | None = Field(
        None, description="CA certificates (PEM) to verify the broker; if unset, the system's"
    )
    nats_tls_certificate_file: Path | None = Field(
        None,
        description="client certificate (PEM) presented to the broker; read at each connection",
    )
    nats_tls_key_file: Path | None = Field(None, description="key (PEM) of that certificate")
    nats_tls_server_name: str = Field(
        "", description="name in the broker's certificate, if it differs from the URL's host"
    )
    nats_tls_first: bool = Field(
        False,
        description="start TLS before the broker's greeting, for a broker with handshake_first",
    )
    event_format: Literal["protobuf", "json"] = Field(
        "protobuf", description="encoding of published events"
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
        description="how long the outbox keeps sent events to send them again; at least an hour "
        "longer than the stream keeps them",
    )
    stream_replicas: int = Field(
        1, ge=1, le=5, description="number of copies of the stream in the cluster"
    )
    streams: Literal["ensure", "verify"] | None = Field(
        None,
        description="ensure: the service creates missing streams; verify: it only checks them, and "
        "`broker apply` creates them; if unset, ensure in development and verify in production",
    )
    member_ttl_seconds: int = Field(
        5,
        ge=1,
        description="time without an announcement after which a replica counts as lost, in whole "
        "seconds",
    )
    event_weight_file: Path | None = Field(
        None,
        description="file with this version's share of the lanes in percent (0 to 100), for a "
        "canary, or `rest`; read at each announcement; if unset, this version shares the rest",
    )
    # The limit is below SQLite's 32,766 parameters, because a handler of lists may name each event
    # in one statement.
    batch_max_events: int = Field(
        500, ge=1, le=10_000, description="maximum number of events in one commit"
    )
    task_tries: int = Field(5, ge=1, description="tries before an event becomes a dead letter")
    task_backoff_seconds: float = Field(
        0.5, gt=0, description="wait before the second try; doubles for each further try"
    )
    task_backoff_max_seconds: float = Field(300, gt=0, description="longest wait between tries")
    task_max_age_seconds: float = Field(
        24 * 3600,
        gt=0,
        description="maximum age of a task that waits for an unavailable service, a missing table "
        "or a version that handles its type; an older one becomes a dead letter",
    )
    task_lease_seconds: float = Field(
        10,
        gt=0,
        description="time without renewal after which another replica may claim a claimed task",
    )
    dead_letter_max_age_seconds: float | None = Field(
        None,
        gt=0,
        description="maximum age of dead letters, which are then deleted; if unset, they are kept "
        "until an operator redrives or drops them",
    )
    mark_max_age_seconds: float = Field(
        24 * 3600, gt=0, description="how long the lane marks of a lost replica are kept"
    )
    long_transaction_seconds: float = Field(
        10, gt=0, description="time after which a transaction that still holds its thread is logged"
    )
    task_timeout_seconds: float = Field(
        60,
        gt=0,
        description="time limit for one attempt of an async handler; exceeding it costs a try",
    )
    task_concurrency: int = Field(
        16,
        ge=1,
        description="maximum number of tasks that a replica runs concurrently; no event "
        "type occupies all places if the service handles several types",
    )
    relay_sweep_seconds: float = Field(
        5, gt=0, description="interval at which the relay checks the outbox without being woken"
    )
    relay_reconcile_seconds: float = Field(
        60, gt=0, description="interval at which the relay compares the stream with the outbox"
    )
    net_seconds: float = Field(
        5, gt=0, description="interval at which a reader compares its positions with the stream"
    )
    stopped_retry_seconds: float = Field(
        30, gt=0, description="interval at which a stopped lane is tried again"
    )
    foreign_id_seconds: float = Field(
        7 * 24 * 3600,
        gt=0,
        description="how long ids of foreign producers' events are kept to drop duplicates",
    )
    log_events: bool = Field(
        False, description="log one line for each event that took effect, with its id and key"
    )

    @property
    def makes_streams(self) -> bool:
        """Whether the service creates its own stream and the members' if they are missing."""
        return self.streams != "verify"

    def current(self, name: str) -> str:
        """Return a secret as its mounted file is now, or as read at the start without a file."""
        secret: SecretStr = getattr(self, name)
        return secret.get_secret_value()
