"""How much a service takes from its callers at once: settings of both protocols."""

from pydantic import Field
from pydantic_settings import BaseSettings

__all__ = ["LimitSettings"]


class LimitSettings(BaseSettings):
    """Inherited by every service's settings."""

    request_max_bytes: int = Field(
        1024 * 1024, gt=0, description="largest body of an HTTP request, else 413"
    )
    http_max_connections: int = Field(
        900,
        ge=1,
        description="open HTTP connections; a newcomer takes the place of the one silent longest",
    )
    http_max_requests: int = Field(
        100, ge=1, description="HTTP requests at work at once, probes and event streams apart"
    )
    http_max_waiting: int = Field(
        200, ge=0, description="HTTP requests that wait for their turn; any more are answered 503"
    )
    http_max_event_streams: int = Field(
        500, ge=0, description="open streams of server-sent events; any more are answered 503"
    )
    http_max_url_bytes: int = Field(8192, ge=64, description="longest URL, else 414")
    http_max_head_bytes: int = Field(
        32 * 1024, ge=1024, description="largest request line with all its headers, else 431"
    )
    http_max_headers: int = Field(100, ge=1, description="most headers of a request, else 431")
    http_head_timeout_seconds: float = Field(
        15, gt=0, description="time for the headers of a request to come, else 408"
    )
    http_body_timeout_seconds: float = Field(
        30, gt=0, description="time for the body of a request to come, else 408"
    )
    http_idle_timeout_seconds: float = Field(
        75, gt=0, description="an HTTP connection without a request for so long is closed"
    )
    http_send_timeout_seconds: float = Field(
        60, gt=0, description="a client that leaves its answer unread for so long is hung up on"
    )
    grpc_max_requests: int = Field(
        100, ge=1, description="gRPC calls at work at once; health and reflection don't count"
    )
    grpc_max_waiting: int = Field(
        200,
        ge=0,
        description="gRPC calls that wait for their turn; any more get RESOURCE_EXHAUSTED",
    )
    grpc_max_connections: int = Field(1000, ge=1, description="open gRPC connections")
    grpc_max_streams: int = Field(
        200, ge=1, description="calls open at once on one gRPC connection; its client holds others"
    )
    grpc_max_message_bytes: int = Field(
        4 * 1024 * 1024, gt=0, description="largest message of a gRPC call that is taken"
    )
    grpc_max_metadata_bytes: int = Field(
        16 * 1024, ge=1024, description="largest metadata of a gRPC call, any more is refused"
    )
    grpc_handshake_timeout_seconds: float = Field(
        15, gt=0, description="time for a gRPC connection to begin, else it is closed"
    )
    grpc_idle_timeout_seconds: float = Field(
        300, gt=0, description="a gRPC connection without a call for so long is closed"
    )
    grpc_keepalive_seconds: float = Field(
        60, gt=0, description="a gRPC client not heard of for so long is asked whether it is there"
    )
