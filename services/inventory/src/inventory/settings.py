"""The settings of inventory."""

from pydantic import Field, SecretStr

from chassis import ServiceSettings

__all__ = ["InventorySettings"]


class InventorySettings(ServiceSettings):
    """The settings of inventory, in addition to those of every service."""

    http_port: int = Field(8082, ge=0, le=65535, description="port of the HTTP server")
    grpc_port: int = Field(9082, ge=0, le=65535, description="port of the gRPC server")
    database_url: SecretStr = Field(
        SecretStr("sqlite:///.slipway/data/inventory.db"),
        description="URL of the database: sqlite:///<file> or postgresql://…",
    )
