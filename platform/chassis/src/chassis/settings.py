"""Settings of a service: APP_… variables, mounted files, and the defaults in its settings.py.

A variable takes precedence over a file of the same name in the folder of mounted secrets, and a
file over the default.
"""

import contextlib
import os
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field, IPvAnyNetwork, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    PydanticBaseSettingsSource,
    SecretsSettingsSource,
    SettingsConfigDict,
)

from chassis.event_settings import EventSettings
from chassis.forwarding import HeaderName
from chassis.limits import LimitSettings

__all__ = [
    "NESTED",
    "PREFIX",
    "SECRETS_DIRECTORY_VARIABLE",
    "ServiceSettings",
    "secrets_directory",
]

PREFIX = "APP_"
NESTED = "__"
SECRETS_DIRECTORY_VARIABLE = "APP_SECRETS_DIR"
_SECRETS_DIRECTORY = "/run/secrets"


# An IPv6 address may be in brackets, as in a URL.
Host = Annotated[str, AfterValidator(lambda host: host.removeprefix("[").removesuffix("]"))]


class ServiceSettings(EventSettings, LimitSettings):
    """The settings that every service has; a service's own settings class inherits from it.

    A subclass gives each of its settings a type, a description and a default that works locally.
    The class is long because it is a list: each setting is declared once.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_nested_delimiter=NESTED, frozen=True, hide_input_in_errors=True
    )

    environment: Literal["development", "production"] = Field(
        "development",
        description="in production, default secrets are refused, and the start runs no migrations "
        "and creates no streams",
    )
    version: str = Field("dev", description="version of this service, shown in its telemetry")
    http_host: Host = Field("127.0.0.1", description="address the HTTP server listens on")
    http_port: int = Field(8080, ge=0, le=65535, description="port of the HTTP server")
    http_root_path: str = Field(
        "",
        pattern=r"^(/[A-Za-z0-9._~-]+)*$",
        description="prefix below which a proxy publishes this service, for example /shop; "
        "the proxy may strip it or leave it",
    )
    http_trusted_proxies: list[IPvAnyNetwork] = Field(
        [],
        description="addresses or networks of proxies whose X-Forwarded-For and -Proto are "
        'trusted, for example ["10.0.0.0/8"]; the headers of other peers are ignored',
    )
    metrics_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="separate port for /metrics, on the HTTP server's address; if unset, "
        "/metrics is on the HTTP port",
    )
    grpc_host: Host = Field("127.0.0.1", description="address the gRPC server listens on")
    grpc_port: int = Field(9090, ge=0, le=65535, description="port of the gRPC server")
    grpc_tls_certificate_file: Path | None = Field(
        None, description="certificate (PEM) of the gRPC server; enables TLS"
    )
    grpc_tls_key_file: Path | None = Field(None, description="key (PEM) of that certificate")
    grpc_tls_client_ca_file: Path | None = Field(
        None,
        description="CA certificates (PEM) to verify callers, which must present a certificate",
    )
    nats_url: str = Field("nats://127.0.0.1:4222", description="URL of the NATS broker")
    database_url: SecretStr = Field(
        SecretStr(""),
        description="URL of the database: sqlite:///<file> or postgresql://…, the latter with "
        "libpq's parameters, for example ?sslmode=verify-full&sslrootcert=<file>",
    )
    targets: dict[str, str] = Field(
        {},
        description="gRPC targets of the services that this one calls, by service name",
    )
    call_timeout_seconds: float = Field(
        5, gt=0, description="time limit for a call to another service, retries included"
    )
    call_tls: bool = Field(
        False, description="send calls over TLS; implied by each of the other call_tls settings"
    )
    call_tls_ca_file: Path | None = Field(
        None,
        description="CA certificates (PEM) to verify called services",
    )
    call_tls_certificate_file: Path | None = Field(
        None, description="client certificate (PEM) presented to called services"
    )
    call_tls_key_file: Path | None = Field(None, description="key (PEM) of that certificate")
    call_tls_server_name: str = Field(
        "",
        description="name in the certificates of called services, if it differs from their targets",
    )
    forward_headers: list[HeaderName] = Field(
        ["end-user"],
        description="names of request headers that are forwarded with the calls of a request, so "
        "that a mesh can route by them at each hop; traceparent, tracestate and baggage are always "
        "forwarded",
    )
    forward_max_bytes: int = Field(
        2048,
        ge=0,
        le=8192,
        description="maximum size of the names and values that forward_headers adds to a call, in "
        "bytes; a header that exceeds it is left out",
    )
    request_timeout_seconds: float = Field(
        10, gt=0, description="time limit for an HTTP request's calls to other services"
    )
    health_interval_seconds: float = Field(
        5, gt=0, description="interval of readiness checks without a probe, and of their test write"
    )
    shutdown_delay_seconds: float = Field(
        0, ge=0, description="time to keep serving after readiness has become false"
    )
    shutdown_grace_seconds: float = Field(
        20, gt=0, description="time limit from the signal to the end of the process"
    )
    proxy_from_environment: bool = Field(
        False,
        description="send calls and traces through the proxy that http_proxy and no_proxy select",
    )
    otlp_endpoint: str | None = Field(
        None,
        description="endpoint that traces are sent to, for example http://127.0.0.1:4317; "
        "if unset, OTEL_EXPORTER_OTLP_ENDPOINT, else none",
    )
    otlp_protocol: Literal["grpc", "http/protobuf"] | None = Field(
        None, description="protocol of traces; if unset, OTEL_EXPORTER_OTLP_PROTOCOL, else grpc"
    )
    trace_sample_ratio: float = Field(
        1,
        ge=0,
        le=1,
        description="share of the traces started here that are recorded; if set, takes precedence "
        "over OTEL_TRACES_SAMPLER",
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field(
        "INFO", description="lowest level that is logged"
    )
    log_rpcs: bool = Field(False, description="log one line for each answered gRPC call")
    log_format: Literal["auto", "console", "json"] = Field(
        "auto", description="format of log lines; auto is console on a terminal, json elsewhere"
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        return (
            init_settings,
            _Variables(settings_cls),
            _Files(settings_cls, secrets_dir=secrets_directory()),
        )

    @property
    def makes_streams(self) -> bool:
        if self.streams is None:
            return self.environment == "development"
        return super().makes_streams

    def current(self, name: str) -> str:
        variable = PREFIX + name.upper()
        directory = secrets_directory()
        if directory is not None and variable not in {key.upper() for key in os.environ}:
            for path in directory.iterdir():
                if path.name.upper() == variable:
                    with contextlib.suppress(OSError):
                        return path.read_text(encoding="utf-8").strip()
        return super().current(name)


class _Variables(EnvSettingsSource):
    """The source that reads environment variables."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        return _json_or_text(super().decode_complex_value, field_name, field, value)


class _Files(SecretsSettingsSource):
    """The source that reads mounted files."""

    def decode_complex_value(self, field_name: str, field: FieldInfo, value: Any) -> Any:
        return _json_or_text(super().decode_complex_value, field_name, field, value)


def _json_or_text(decode: Any, field_name: str, field: FieldInfo, value: Any) -> Any:
    """Return the decoded value; invalid JSON stays text, which its validation then refuses."""
    try:
        return decode(field_name, field, value)
    except ValueError:
        return value


def secrets_directory() -> Path | None:
    """Return the folder of mounted secrets, None if it does not exist."""
    path = Path(os.environ.get(SECRETS_DIRECTORY_VARIABLE, _SECRETS_DIRECTORY))
    return path if path.is_dir() else None
