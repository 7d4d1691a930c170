"""The settings of notifications."""

from pydantic import Field, SecretStr

from chassis import ServiceSettings

__all__ = ["NotificationsSettings"]


class NotificationsSettings(ServiceSettings):
    """The settings of notifications, in addition to those of every service."""

    http_port: int = Field(8084, ge=0, le=65535, description="port of the HTTP server")
    grpc_port: int = Field(9084, ge=0, le=65535, description="port of the gRPC server")
    database_url: SecretStr = Field(
        SecretStr("sqlite:///.slipway/data/notifications.db"),
        description="URL of the database: sqlite:///<file> or postgresql://…",
    )
