"""Limits on what callers can demand of a service at a time, for HTTP and gRPC."""

from pydantic import Field
from pydantic_settings import BaseSettings

__all__ = ["LimitSettings"]


class LimitSettings(BaseSettings):
    """The limits in every service's settings; the class is long because it is a list."""

    request_max_bytes: int = Field(
        1024 * 1024,
        gt=0,
        description="largest body of an HTTP request; a larger one is answered 413",
    )
    http_max_connections: int = Field(
        900,
        ge=1,
        description="maximum number of open HTTP connections; above it, a new connection "
        "replaces the one that has been silent longest",
    )
    http_max_requests: int = Field(
        100,
        ge=1,
        description="maximum number of concurrent HTTP requests, without probes and event streams",
    )
    http_max_waiting: int = Field(
        200,
        ge=0,
        description="maximum number of waiting HTTP requests; further ones are answered 503",
    )
    http_max_event_streams: int = Field(
        500,
        ge=0,
        description="maximum number of open server-sent event streams; further ones are "
        "answered 503",
    )
    http_max_url_bytes: int = Field(
        8192, ge=64, description="longest URL; a longer one is answered 414"
    )
    http_max_head_bytes: int = Field(
        32 * 1024,
        ge=1024,
        description="largest request line with all headers; a larger one is answered 431",
    )
    http_max_headers: int = Field(
        100, ge=1, description="maximum number of headers of a request; more are answered 431"
    )
    http_head_timeout_seconds: float = Field(
        15, gt=0, description="time limit for receiving a request's headers, else 408"
    )
    http_body_timeout_seconds: float = Field(
        30, gt=0, description="time limit for receiving a request's body, else 408"
    )
    http_idle_timeout_seconds: float = Field(
        75, gt=0, description="time without a request after which an HTTP connection is closed"
    )
    http_send_timeout_seconds: float = Field(
        60, gt=0, description="time an answer may stay unread before its HTTP connection is closed"
    )
    grpc_max_requests: int = Field(
        100,
        ge=1,
        description="maximum number of concurrent gRPC calls, without health and reflection",
    )
    grpc_max_waiting: int = Field(
        200,
        ge=0,
        description="maximum number of waiting gRPC calls; further ones are answered "
        "RESOURCE_EXHAUSTED",
    )
    grpc_max_connections: int = Field(
        1000, ge=1, description="maximum number of open gRPC connections"
    )
    grpc_max_streams: int = Field(
        200,
        ge=1,
        description="maximum number of concurrent calls on a gRPC connection; its client "
        "delays others",
    )
    grpc_max_message_bytes: int = Field(
        4 * 1024 * 1024, gt=0, description="largest message of a gRPC call that is accepted"
    )
    grpc_max_metadata_bytes: int = Field(
        16 * 1024,
        ge=1024,
        description="largest metadata of a gRPC call; a call with more is refused",
    )
    grpc_handshake_timeout_seconds: float = Field(
        15, gt=0, description="time limit for the handshake of a gRPC connection, else it is closed"
    )
    grpc_idle_timeout_seconds: float = Field(
        300, gt=0, description="time without a call after which a gRPC connection is closed"
    )
    grpc_keepalive_seconds: float = Field(
        60,
        gt=0,
        description="time without data after which a gRPC client is sent a keep-alive ping",
    )
