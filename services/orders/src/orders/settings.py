"""The settings of orders."""

from pydantic import Field, SecretStr

from chassis import ServiceSettings

__all__ = ["OrdersSettings"]


class OrdersSettings(ServiceSettings):
    """The settings of orders, in addition to those of every service."""

    http_port: int = Field(8081, ge=0, le=65535, description="port of the HTTP server")
    grpc_port: int = Field(9081, ge=0, le=65535, description="port of the gRPC server")
    database_url: SecretStr = Field(
        SecretStr("sqlite:///.slipway/data/orders.db"),
        description="URL of the database: sqlite:///<file> or postgresql://…",
    )
    order_timeout_seconds: float = Field(
        60, gt=0, description="time after which a pending order is cancelled"
    )
