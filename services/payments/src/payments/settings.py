"""The settings of payments."""

from pydantic import Field, SecretStr

from chassis import ServiceSettings

__all__ = ["PaymentsSettings"]


class PaymentsSettings(ServiceSettings):
    """The settings of payments, in addition to those of every service."""

    http_port: int = Field(8083, ge=0, le=65535, description="port of the HTTP server")
    grpc_port: int = Field(9083, ge=0, le=65535, description="port of the gRPC server")
    database_url: SecretStr = Field(
        SecretStr("sqlite:///.slipway/data/payments.db"),
        description="URL of the database: sqlite:///<file> or postgresql://…",
    )
    payment_limit: int = Field(
        15_000, ge=0, description="highest total that is authorized, in minor units"
    )
