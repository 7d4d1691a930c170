"""Settings of a service: APP_… variables, mounted files, and the defaults in its settings.py.

A variable takes precedence over a file of the same name in the folder of mounted secrets, and a
file over the default.
"""

import contextlib
import difflib
import json
import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar, get_origin

from pydantic import AfterValidator, BaseModel, Field, IPvAnyNetwork, SecretStr, ValidationError
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

__all__ = ["ServiceSettings", "SettingsInvalid", "describe", "load", "unknown_variables"]

PREFIX = "APP_"
NESTED = "__"
SECRETS_DIRECTORY_VARIABLE = "APP_SECRETS_DIR"
_SECRETS_DIRECTORY = "/run/secrets"

S = TypeVar("S", bound="ServiceSettings")


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
        default_factory=list,
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
        default_factory=dict,
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
            _Files(settings_cls, secrets_dir=_secrets_directory()),
        )

    @property
    def makes_streams(self) -> bool:
        if self.streams is None:
            return self.environment == "development"
        return super().makes_streams

    def current(self, name: str) -> str:
        variable = PREFIX + name.upper()
        directory = _secrets_directory()
        if directory is not None and variable not in {key.upper() for key in os.environ}:
            for path in directory.iterdir():
                if path.name.upper() == variable:
                    with contextlib.suppress(OSError):
                        return path.read_text(encoding="utf-8").strip()
        return super().current(name)


class SettingsInvalid(Exception):
    """Settings are invalid or missing.

    `lines` has a line for each such variable, which does not contain its value.
    """

    def __init__(self, lines: list[str]) -> None:
        super().__init__("\n".join(lines))
        self.lines = lines


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


def _secrets_directory() -> Path | None:
    """Return the folder of mounted secrets, None if it does not exist."""
    path = Path(os.environ.get(SECRETS_DIRECTORY_VARIABLE, _SECRETS_DIRECTORY))
    return path if path.is_dir() else None


def load(settings_type: type[S]) -> S:
    """Read the settings from the environment.

    Raises:
        SettingsInvalid: settings are invalid or missing.
    """
    lines = []
    named = os.environ.get(SECRETS_DIRECTORY_VARIABLE)
    if named is not None and not Path(named).is_dir():
        lines.append(f"{SECRETS_DIRECTORY_VARIABLE}: {named} is not a folder")
    try:
        settings = settings_type()
    except ValidationError as error:
        raise SettingsInvalid(lines + list(_error_lines(error))) from None
    if settings.environment != "development":
        lines += _default_secret_lines(settings)
    if lines:
        raise SettingsInvalid(lines)
    return settings


def _error_lines(error: ValidationError) -> Iterator[str]:
    """Yield a line for each invalid or missing variable, without its value."""
    by_variable: dict[str, str] = {}
    for problem in error.errors(include_url=False, include_input=False):
        location = NESTED.join(str(part) for part in problem["loc"]) or "settings"
        message = "is missing" if problem["type"] == "missing" else problem["msg"]
        by_variable.setdefault(PREFIX + location.upper(), message)
    for variable, message in by_variable.items():
        yield f"{variable}: {message[0].lower()}{message[1:]}"


def _default_secret_lines(settings: ServiceSettings) -> Iterator[str]:
    """Yield a line for each secret that is not empty and has its default value."""
    for name, field in type(settings).model_fields.items():
        value = getattr(settings, name)
        if not isinstance(value, SecretStr) or not value.get_secret_value():
            continue
        if value == field.get_default(call_default_factory=True, validated_data={}):
            yield (
                f"{PREFIX}{name.upper()}: its default is for development only, "
                f"set it in {settings.environment}"
            )


def unknown_variables(
    settings_type: type[ServiceSettings], environment: Mapping[str, str] = os.environ
) -> list[str]:
    """Return a line for each APP_… variable or mounted file that is not a setting.

    It names the setting with the most similar name.
    """
    known = {PREFIX + name.upper(): field for name, field in settings_type.model_fields.items()}
    nested = tuple(name + NESTED for name, field in known.items() if _is_nested(field))
    names = [name for name in environment if name.upper().startswith(PREFIX)]
    directory = _secrets_directory()
    if directory is not None:
        names += [p.name for p in directory.iterdir() if p.name.upper().startswith(PREFIX)]
    lines = []
    for name in sorted(set(names)):
        upper = name.upper()
        if upper in known or upper == SECRETS_DIRECTORY_VARIABLE or upper.startswith(nested):
            continue
        nearest = difflib.get_close_matches(upper, known, n=1)
        lines.append(
            f"{name} is not a setting of this service"
            + (f"; did you mean {nearest[0]}?" if nearest else "")
        )
    return lines


def _is_nested(field: FieldInfo) -> bool:
    """Return whether parts of the setting have variables of their own, APP_NAME__PART."""
    kind = get_origin(field.annotation) or field.annotation
    return isinstance(kind, type) and issubclass(kind, (dict, BaseModel))


def describe(settings: ServiceSettings) -> str:
    """Return a line `APP_NAME=value  # description` for each setting, with secrets masked."""
    lines = []
    for name, field in type(settings).model_fields.items():
        shown = _displayed(getattr(settings, name), settings, name)
        lines.append((f"{PREFIX}{name.upper()}={shown}", field.description or ""))
    width = min(60, max(len(assignment) for assignment, _ in lines))
    return "\n".join(f"{assignment:<{width}}  # {text}".rstrip("# ") for assignment, text in lines)


def _displayed(value: object, settings: ServiceSettings, name: str) -> str:
    """Return the value of a setting as text, with secrets and credentials masked."""
    if isinstance(value, SecretStr):
        return str(value)
    dumped = settings.model_dump(mode="json", include={name})[name]
    if dumped is None:
        return ""
    if isinstance(dumped, (dict, list)):
        dumped = json.dumps(dumped)
    return without_credentials(str(dumped))


_CREDENTIALS = re.compile(r"(?<=://)[^/\s@\"']+@")


def without_credentials(text: str) -> str:
    """Return the text with the user and password of each URL masked."""
    return _CREDENTIALS.sub("***@", text)
